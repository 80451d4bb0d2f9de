"use strict";(()=>{var Ee=Object.create;var $=Object.defineProperty;var Ae=Object.getOwnPropertyDescriptor;var Ce=Object.getOwnPropertyNames;var Te=Object.getPrototypeOf,Le=Object.prototype.hasOwnProperty;var x=(i,t,e)=>()=>{if(e)throw e[0];try{return i&&(t=i(i=0)),t}catch(o){throw e=[o],o}};var y=(i,t)=>()=>{try{return t||i((t={exports:{}}).exports,t),t.exports}catch(e){throw t=0,e}},ot=(i,t)=>{for(var e in t)$(i,e,{get:t[e],enumerable:!0})},nt=(i,t,e,o)=>{if(t&&typeof t=="object"||typeof t=="function")for(let n of Ce(t))!Le.call(i,n)&&n!==e&&$(i,n,{get:()=>t[n],enumerable:!(o=Ae(t,n))||o.enumerable});return i};var f=(i,t,e)=>(e=i!=null?Ee(Te(i)):{},nt(t||!i||!i.__esModule?$(e,"default",{value:i,enumerable:!0}):e,i)),v=i=>nt($({},"__esModule",{value:!0}),i);var w={};ot(w,{NAMES:()=>at,take:()=>D,taken:()=>rt});async function D(i){for(let t of at){let e=Object.values(i[t]??{}),o=e.find(({loaded:a})=>a)??e[0];if(o===void 0)throw new Error(`xai-notebook: this JupyterLab has no ${t}`);let n=await o.get();rt[t]=n()}}var at,rt,g=x(()=>{"use strict";at=["@codemirror/language","@codemirror/state","@codemirror/view","@jupyterlab/apputils","@jupyterlab/codemirror","@jupyterlab/filebrowser","@jupyterlab/launcher","@jupyterlab/notebook","@jupyterlab/ui-components","@lezer/highlight"],rt={}});var lt=y((hi,st)=>{st.exports=(g(),v(w)).taken["@jupyterlab/apputils"]});var N=y((ui,ct)=>{ct.exports=(g(),v(w)).taken["@jupyterlab/codemirror"]});var pt=y((xi,dt)=>{dt.exports=(g(),v(w)).taken["@jupyterlab/filebrowser"]});var ut=y((fi,ht)=>{ht.exports=(g(),v(w)).taken["@jupyterlab/launcher"]});var B=y((mi,xt)=>{xt.exports=(g(),v(w)).taken["@jupyterlab/notebook"]});var U=y((gi,ft)=>{ft.exports=(g(),v(w)).taken["@codemirror/language"]});var gt=y((wi,mt)=>{mt.exports=(g(),v(w)).taken["@codemirror/state"]});var bt=y((bi,wt)=>{wt.exports=(g(),v(w)).taken["@codemirror/view"]});var H=y((yi,yt)=>{yt.exports=(g(),v(w)).taken["@lezer/highlight"]});var kt,vt=x(()=>{kt={"-n":"","--count":"","-m":"","--model":"","-a":"","--aspect-ratio":"","-r":"","--resolution":"","-q":"","--quality":"","-i":"","--image":"","-u":"","--user":"","-f":"","--format":"","--as":"","-e":"","--export":"","--no-metadata":null,"--share":"","--columns":"","--captions":"","--full":null,"--compare":null,"--matrix":"[\\w-]+=","--each":"","--rewrite":"grok","--fresh":null,"--redo":"","--replay":null,"--reuse":null,"--max-cost":"","--dry-run":null,"--timeout":"","--batch":null,"--local":null,"-h":null,"--help":null}});function Et(i){for(let t of i)if(t.trim())return $e.test(t);return!1}function zt(i,t){for(;!i.eol();){if(!t.depth&&i.match("}}")){t.depth=null;break}if(i.match(Re))continue;let e=i.next()??"";"([{".includes(e)?t.depth=(t.depth??0)+1:")]}".includes(e)&&(t.depth=Math.max((t.depth??0)-1,0))}return"template"}function _e(i,t){let e=t.value;if(t.value=null,i.match(/^--(?!\S)/))return t.place="text","option";let[o]=i.match(Oe,!1)??[];if(o!==void 0&&o in St){i.match(o);let r=!i.eol()&&!/\s/.test(i.peek()??"");return t.value=r?"":St[o],"option"}i.match(Pe)||i.next();let n=i.current();if(e!==null&&!qe.test(n)&&n.search(e)===0)return"value";let a=n.indexOf("{{");return a>0&&i.backUp(n.length-a),null}var j,C,St,$e,je,Me,Pe,Oe,qe,Re,De,At,W,K,Ct=x(()=>{"use strict";j=f(U(),1),C=f(H(),1);vt();St=kt,$e=/^\s*%%xai_image(?!\S)/,je=/^%%?xai_\w+(?!\S)/,Me=String.raw`\$'(?:\\.|[^'\\])*'|"[^"]*"|'[^']*'`,Pe=new RegExp(String.raw`^(?:${Me}|(?!\{\{)\S)+`),Oe=/^(?:--[A-Za-z][\w-]*(?==|\s|$)|-[A-Za-z](?!-))/,qe=/^--?[A-Za-z]/,Re=/^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")/;De={name:"xai-prompt",startState:()=>({place:"start",value:null,depth:null}),token(i,t){return t.place==="line"&&i.sol()&&(t.place="text"),t.depth!==null?zt(i,t):t.place!=="text"&&i.eatSpace()?null:t.place==="start"&&(t.place="line",i.match(je))?"magic":i.match("{{")?(t.depth=0,zt(i,t)):t.place==="line"?_e(i,t):(i.skipTo("{{")||i.skipToEnd(),null)}},At={magic:C.Tag.define(),option:C.Tag.define(),value:C.Tag.define(),template:C.Tag.define()},W=j.StreamLanguage.define({...De,tokenTable:At}),K=j.HighlightStyle.define(Object.entries(At).map(([i,t])=>({tag:t,class:`xai-${i}`})))});function Mt(i){return Ne.exec(i)?.[0].length}function Tt({state:i,visibleRanges:t}){let e=new b.RangeSetBuilder,o=(a,r,s)=>{a<r&&e.add(a,r,S.Decoration.mark({class:s}))},n=0;for(let a of t)for(n=Math.max(n,a.from);n<=a.to;){let r=i.doc.lineAt(n);n=r.to+1;let s=Mt(r.text);if(s===void 0)continue;let c=r.from+s,p=c,h=W.parser.parse(r.text.slice(s));(0,$t.highlightTree)(h,K,(m,u,d)=>{o(p,c+m,F),o(c+m,c+u,d),p=c+u}),o(p,r.to,F)}return e.finish()}function We(i){let t=new b.Compartment,e=o=>Et(o)?Ue:He;return[Be,t.of(e(i.split(`
`))),b.EditorState.transactionExtender.of(o=>{if(!o.docChanged)return null;let n=e(o.newDoc.iterLines());return n===t.get(o.startState)?null:{effects:t.reconfigure(n)}})]}var Lt,b,S,It,$t,Ne,F,jt,T,Be,Ue,G,He,Pt,Ot=x(()=>{"use strict";Lt=f(U(),1),b=f(gt(),1),S=f(bt(),1),It=f(N(),1),$t=f(H(),1);Ct();Ne=/^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/,F="xai-text",jt={closeBrackets:{brackets:[]}},T={fontStyle:"normal",fontWeight:"normal"},Be=S.EditorView.baseTheme({[`.${F}`]:{...T,color:"var(--jp-content-font-color1)"},".xai-magic":{...T,color:"var(--jp-mirror-editor-operator-color)"},".xai-option":{...T,color:"var(--jp-mirror-editor-property-color)"},".xai-value":{...T,color:"var(--jp-mirror-editor-keyword-color)"},".xai-template":{...T,color:"var(--jp-mirror-editor-string-color)",backgroundColor:"color-mix(in srgb, currentcolor 8%, transparent)",borderRadius:"3px"},".cm-searching span":{color:"inherit"},"&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket":{color:"inherit !important",backgroundColor:"transparent !important"}}),Ue=[b.Prec.highest([W,b.EditorState.languageData.of(()=>[jt])]),(0,Lt.syntaxHighlighting)(K),S.EditorView.lineWrapping,S.EditorView.editorAttributes.of({class:"xai-prompt"})];G=class{constructor(t){this.marks=Tt(t)}update({docChanged:t,viewportChanged:e,view:o}){(t||e)&&(this.marks=Tt(o))}},He=b.Prec.highest([S.ViewPlugin.fromClass(G,{decorations:({marks:i})=>i}),b.EditorState.languageData.of((i,t)=>Mt(i.doc.lineAt(t).text)===void 0?[]:[jt])]);Pt={name:"xai-notebook:prompt",factory:({model:i})=>!("type"in i)||i.type!=="code"?null:It.EditorExtensionRegistry.createImmutableExtension(We(i.sharedModel.getSource()))}});var Rt=y((Ai,qt)=>{qt.exports=(g(),v(w)).taken["@jupyterlab/ui-components"]});var _t,Dt,Ke,Nt,Bt,Ut=x(()=>{"use strict";_t=f(Rt(),1),Dt=(i,t)=>new _t.LabIcon({name:`xai-notebook:${i}`,svgstr:`<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">${t}</g></svg>`}),Ke="M18.5 1l1.1 2.9 2.9 1.1-2.9 1.1-1.1 2.9-1.1-2.9-2.9-1.1 2.9-1.1z",Nt=Dt("panel",`<path d="${Ke}"/><path d="M13 4H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-8h-2v8H4V6h9z"/><path d="M5.5 17.5h11l-3.6-4.8-2.6 3.3-1.9-2.2z"/>`),Bt=Dt("library",'<path d="M4 2h16v2H4zM3 5.5h18v2H3z"/><path d="M20 9H4a2 2 0 0 0-2 2v9a2 2 0 0 0 2 2h16a2 2 0 0 0 2-2v-9a2 2 0 0 0-2-2zm0 11H4v-9h16z"/><path d="M6 18.5h12l-4-5.2-2.9 3.6-2-2.3z"/>')});async function Fe({content:i},t,e){if(t.status!=="idle")return i.widgets.some(({model:s})=>s.sharedModel.getSource().includes(Y));let n={code:"",silent:!0,store_history:!1,user_expressions:{there:`'${e}' in get_ipython().magics_manager.magics['line']`}},{content:a}=await t.requestExecute(n).done;return(a.status==="ok"?JSON.stringify(a.user_expressions):"").includes('"text/plain":"True"')}async function Ge({commands:i},t,e){let{content:o,sessionContext:n}=t,a=n.session?.kernel,r=a&&await Fe(t,a,e)?"":`${Y}
`,s=o.activeCell?.model;(s?.type!=="code"||s.sharedModel.getSource().trim())&&J.NotebookActions.insertBelow(o),o.activeCell?.model.sharedModel.setSource(`${r}%${e}`),await i.execute("notebook:run-cell")}async function Ht(i){let{content:t,context:e,sessionContext:o}=i,n=()=>localStorage.getItem(Z)===e.path;n()&&(await e.ready,await o.ready,await o.session?.kernel?.info,!(!i.isAttached||!n())&&(localStorage.removeItem(Z),await J.NotebookActions.run(t,o)))}async function Ze(i,t,e){let{contents:o,kernelspecs:n}=i.serviceManager;await n.ready;let a=Object.values(n.specs?.kernelspecs??{}),r=n.specs?.default,s=a.filter(u=>u?.language==="python"),c=s.find(u=>u?.name===r)??s[0],{path:p}=await o.newUntitled({path:e,type:"notebook"}),h={cell_type:"code",execution_count:null,metadata:{},outputs:[]},m=c?{kernelspec:{name:c.name,display_name:c.display_name,language:"python"}}:{};await o.save(p,{type:"notebook",format:"json",content:{cells:[{...h,source:`${Y}
%${t}`}],metadata:m,nbformat:4,nbformat_minor:4}}),localStorage.setItem(Z,p),await i.commands.execute("docmanager:open",{path:p,factory:"Notebook"})}function Wt(i,t,e){for(let{command:o,magic:n,...a}of V)i.commands.addCommand(o,{...a,execute:async({cwd:r})=>{let s=t.currentWidget;s&&s===i.shell.currentWidget?await Ge(i,s,n):await Ze(i,n,String(r??e()??""))}});t.forEach(Ht),t.widgetAdded.connect((o,n)=>{Ht(n)})}var J,V,Y,Z,Kt=x(()=>{"use strict";J=f(B(),1);Ut();V=[{command:"xai-notebook:panel",magic:"xai_panel",label:"xAI image panel",caption:"Make images with a form, in this notebook or in a new one",icon:Nt},{command:"xai-notebook:library",magic:"xai_library",label:"xAI image library",caption:"Search and tidy all your images, in this notebook or in a new one",icon:Bt}],Y="%load_ext xai_notebook",Z="xai-notebook:run"});var Gt,Ft=x(()=>{Gt=`/* Colours come from the notebook's theme; what has none gets a calm light page. */

.xai-widget {
  --xai-ground: var(--jp-layout-color1, var(--vscode-editor-background, #fff));
  --xai-sunk: var(--jp-layout-color2, var(--vscode-textCodeBlock-background, #f4f4f5));
  --xai-stage: #ececef;
  --xai-ink: #17181c;
  --xai-soft: #55585f;
  --xai-line: #d7d9de;
  --xai-edge: #83868e;
  --xai-bad: #a8180f;
  --xai-focus: #0b63ce;
  --xai-field: #fff;
  --xai-hover: rgb(0 0 0 / 6%);
  color: var(--xai-ink);
  font-family: var(--jp-ui-font-family, system-ui, -apple-system, "Segoe UI", sans-serif);
  font-size: 13px;
  line-height: 1.45;
}

body[data-jp-theme-light="false"] .xai-widget,
body:is(.vscode-dark, .vscode-high-contrast) .xai-widget,
html[theme="dark"] .xai-widget {
  --xai-stage: #121316;
  --xai-ink: #eceef2;
  --xai-soft: #b0b4bd;
  --xai-line: #3d4047;
  --xai-edge: #858993;
  --xai-bad: #ff9c92;
  --xai-focus: #7db8ff;
  --xai-field: rgb(255 255 255 / 6%);
  --xai-hover: rgb(255 255 255 / 10%);
  color-scheme: dark;
}

.xai-widget,
.xai-widget * {
  box-sizing: border-box;
}

.xai-widget [hidden] {
  /* biome-ignore lint/complexity/noImportantStyles: whatever a class displays, hidden is hidden */
  display: none !important;
}

.xai-widget :is(p, ul, figure, h2, h3, h4, pre) {
  margin: 0;
  padding: 0;
}

.xai-widget ul {
  list-style: none;
}

.xai-frame {
  container-type: inline-size;
  margin: 4px 0 12px;
  padding: 18px clamp(12px, 2%, 20px) 20px;
  border: 1px solid var(--xai-line);
  border-radius: 12px;
  background: var(--xai-ground);
  text-align: start;
}

.xai-title {
  color: inherit;
  font-family: inherit;
  font-size: 13px;
  font-weight: 600;
  line-height: 1.45;
}

header > .xai-title {
  font-size: 16px;
}

.xai-row {
  display: flex;
  flex-wrap: wrap;
  gap: 8px 12px;
  align-items: center;
}

.xai-between {
  justify-content: space-between;
}

.xai-end {
  margin-inline-start: auto;
}

.xai-quiet,
.xai-hint,
.xai-facts,
.xai-file {
  color: var(--xai-soft);
  font-size: 12px;
  overflow-wrap: anywhere;
}

.xai-chip,
.xai-badge {
  padding: 1px 9px;
  border: 1px solid var(--xai-line);
  border-radius: 10px;
  color: var(--xai-soft);
  font-size: 12px;
}

.xai-badge {
  white-space: nowrap;
}

.xai-unseen {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

.xai-wide {
  grid-column: 1 / -1;
}

.xai-field {
  display: flex;
  flex-direction: column;
  gap: 4px;
  min-width: 0;
}

.xai-label,
.xai-check label {
  font-weight: 500;
}

.xai-widget :is(input, select, textarea, button) {
  margin: 0;
  font: inherit;
  letter-spacing: inherit;
}

.xai-widget .xai-field :is(input, select, textarea) {
  width: 100%;
  min-width: 0;
  height: 34px;
  padding: 6px 10px;
  border: 1px solid var(--xai-edge);
  border-radius: 7px;
  background-color: var(--xai-field);
  color: inherit;
}

.xai-widget .xai-field select {
  padding-inline: 7px;
  text-overflow: ellipsis;
}

.xai-field option {
  background: var(--xai-ground);
  color: var(--xai-ink);
}

.xai-widget .xai-field textarea {
  height: auto;
  min-height: 124px;
  padding: 10px 12px;
  font-size: 14px;
  line-height: 1.5;
  resize: vertical;
}

.xai-field ::placeholder {
  color: var(--xai-soft);
  opacity: 1;
}

.xai-widget :disabled {
  opacity: 0.55;
  cursor: not-allowed;
}

.xai-check {
  display: flex;
  gap: 8px;
  align-items: flex-start;
}

.xai-check input {
  flex: none;
  width: 16px;
  height: 16px;
  margin-top: 1px;
  accent-color: var(--xai-focus);
}

.xai-check .xai-hint {
  display: block;
}

/* Buttons */

.xai-widget .xai-button {
  min-height: 34px;
  padding: 5px 14px;
  border: 1px solid var(--xai-edge);
  border-radius: 7px;
  background: transparent;
  color: inherit;
  cursor: pointer;
}

.xai-widget .xai-button:hover:enabled {
  background: var(--xai-hover);
}

.xai-widget .xai-small {
  min-height: 28px;
  padding: 2px 10px;
  border-color: var(--xai-line);
  font-size: 12px;
}

.xai-widget .xai-link {
  padding: 0;
  border: 0;
  background: none;
  color: inherit;
  font-size: inherit;
  text-decoration: underline;
  text-underline-offset: 2px;
  cursor: pointer;
}

.xai-widget :is(button, input, select, textarea, summary, pre):focus-visible {
  outline: 2px solid var(--xai-focus);
  outline-offset: 2px;
}

.xai-widget .xai-alert {
  color: var(--xai-bad);
  margin-top: 10px;
  padding: 9px 12px;
  border: 1px solid currentcolor;
  border-radius: 8px;
  overflow-wrap: anywhere;
}

.xai-widget .xai-cellbox > .xai-row {
  margin-top: 6px;
}

.xai-widget .xai-cell {
  max-height: 160px;
  margin-top: 8px;
  padding: 9px 12px;
  overflow: auto;
  border: 1px solid var(--xai-line);
  border-radius: 8px;
  background: var(--xai-sunk);
  color: var(--xai-ink);
  font-family: var(--jp-code-font-family, ui-monospace, Menlo, Consolas, monospace);
  font-size: 12px;
  line-height: 1.5;
  overflow-wrap: anywhere;
  white-space: pre-wrap;
  word-break: normal;
}

.xai-widget .xai-cell code {
  padding: 0;
  background: none;
  color: inherit;
  font: inherit;
}

.xai-menu {
  position: fixed;
  inset: auto;
  min-width: 170px;
  margin: 0;
  padding: 4px;
  border: 1px solid var(--xai-line);
  border-radius: 9px;
  background: var(--xai-ground);
  color: var(--xai-ink);
  box-shadow: 0 6px 24px rgb(0 0 0 / 22%);
}

.xai-widget .xai-menuitem {
  display: block;
  width: 100%;
  padding: 6px 10px;
  border: 0;
  border-radius: 6px;
  background: none;
  color: inherit;
  text-align: start;
  cursor: pointer;
}

.xai-widget .xai-menuitem:is(:hover, :focus-visible) {
  background: var(--xai-hover);
}

.xai-prompt {
  overflow-wrap: anywhere;
  white-space: pre-line;
}

.xai-tag {
  margin-inline-end: 3px;
  color: var(--xai-soft);
  font-size: 12px;
}

/* A picture in a grid */

.xai-face {
  position: relative;
  display: block;
  width: 100%;
  height: 100%;
}

.xai-face img {
  display: block;
  width: 100%;
  max-width: none;
  height: 100%;
  object-fit: contain;
}

.xai-star {
  position: absolute;
  top: 6px;
  right: 6px;
  padding: 0 6px;
  border-radius: 10px;
  background: rgb(0 0 0 / 72%);
  color: #ffd54a;
  font-size: 12px;
}
`});var Jt,Zt=x(()=>{Jt=`/* One picture in full, or two under a slider. */

/* All of it stands below one class: another widget of the page may bring the shared styles again. */
.xai-viewer {
  & {
    position: fixed;
    inset: 0;
    display: flex;
    flex-direction: column;
    width: min(1720px, 96vw);
    max-width: none;
    height: 94vh;
    max-height: none;
    margin: auto;
    padding: 0;
    overflow: hidden;
    border: 1px solid var(--xai-line);
    border-radius: 12px;
    background: var(--xai-ground);
  }

  &:not([open]) {
    display: none;
  }

  &::backdrop {
    background: rgb(0 0 0 / 65%);
  }

  .xai-viewerhead {
    display: flex;
    flex-wrap: wrap;
    gap: 8px 20px;
    align-items: center;
    padding: 10px 14px;
    border-bottom: 1px solid var(--xai-line);
  }

  .xai-viewerhead > :last-child {
    order: 1;
  }

  .xai-steps {
    margin-inline-end: auto;
  }

  .xai-steps .xai-title {
    min-width: 9em;
    font-variant-numeric: tabular-nums;
    text-align: center;
  }

  &.xai-two .xai-steps .xai-title {
    min-width: 0;
  }

  .xai-tools {
    gap: 6px;
  }

  .xai-percent {
    min-width: 3.6em;
    font-variant-numeric: tabular-nums;
    text-align: end;
  }

  .xai-sheets {
    display: grid;
    flex: 1;
    grid-template-rows: minmax(0, 1fr);
    grid-template-columns: minmax(0, 1fr) minmax(240px, 340px);
    min-height: 0;
  }

  .xai-look {
    display: flex;
    flex-direction: column;
    min-width: 0;
    min-height: 0;
    background: var(--xai-stage);
  }

  .xai-view {
    position: relative;
    display: grid;
    flex: 1;
    min-height: 0;
    margin: 14px;
    overflow: hidden;
    place-content: center;
    touch-action: pan-y;
  }

  .xai-view:focus-visible {
    outline: 2px solid var(--xai-focus);
    outline-offset: 4px;
  }

  .xai-zoomed {
    cursor: grab;
    touch-action: none;
  }

  .xai-zoomed:active {
    cursor: grabbing;
  }

  .xai-plane {
    position: relative;
    will-change: transform;
  }

  .xai-plane img {
    position: absolute;
    inset: 0;
    display: block;
    width: 100%;
    max-width: none;
    height: 100%;
    object-fit: contain;
  }

  &.xai-two .xai-view {
    cursor: ew-resize;
    touch-action: pan-y;
  }

  .xai-handle {
    position: absolute;
    top: 0;
    bottom: 0;
    width: calc(24px / var(--xai-zoom, 1));
    cursor: ew-resize;
    transform: translateX(-50%);
    background: linear-gradient(#fff, #fff) center / calc(2px / var(--xai-zoom, 1)) 100% no-repeat;
    filter: drop-shadow(0 0 calc(2px / var(--xai-zoom, 1)) rgb(0 0 0 / 80%));
  }

  .xai-handle::after {
    position: absolute;
    top: 50%;
    left: 50%;
    display: grid;
    width: 34px;
    height: 34px;
    place-content: center;
    border-radius: 50%;
    background: #fff;
    color: #17181c;
    content: "◂ ▸";
    font-size: 11px;
    line-height: 1;
    transform: translate(-50%, -50%) scale(calc(1 / var(--xai-zoom, 1)));
  }

  &.xai-widget .xai-slider {
    width: min(420px, 80%);
    margin: 0 auto 14px;
    accent-color: var(--xai-focus);
  }

  .xai-look > .xai-hint {
    padding: 0 14px 10px;
    text-align: center;
  }

  &.xai-widget .xai-strip {
    display: flex;
    flex: none;
    gap: 10px;
    padding: 10px 14px;
    overflow-x: auto;
    border-top: 1px solid var(--xai-line);
    background: var(--xai-ground);
  }

  .xai-strip li:not(:last-child)::after {
    display: inline-block;
    height: 64px;
    padding-inline-start: 10px;
    color: var(--xai-soft);
    content: "→";
    line-height: 64px;
    vertical-align: top;
  }

  &.xai-widget .xai-kin {
    display: inline-flex;
    flex-direction: column;
    gap: 3px;
    align-items: center;
    min-width: 64px;
    text-decoration: none;
  }

  .xai-kin img {
    display: block;
    width: 64px;
    height: 64px;
    border-radius: 6px;
    background: var(--xai-hover);
    object-fit: cover;
  }

  .xai-kin[aria-current] img {
    outline: 3px solid var(--xai-focus);
    outline-offset: -1px;
  }

  .xai-about {
    display: flex;
    flex-direction: column;
    gap: 16px;
    padding: 16px 18px 20px;
    overflow: auto;
    border-inline-start: 1px solid var(--xai-line);
  }

  .xai-about section {
    display: flex;
    flex-direction: column;
    gap: 5px;
    align-items: flex-start;
  }

  .xai-about .xai-prompt {
    font-size: 14px;
    line-height: 1.5;
  }

  .xai-about .xai-cell {
    align-self: stretch;
    max-height: 220px;
    margin-top: 0;
  }

  .xai-side {
    font-size: 14px;
    font-weight: 600;
  }

  .xai-side:not(:first-child) {
    padding-top: 14px;
    border-top: 1px solid var(--xai-line);
  }

  .xai-factlist {
    display: flex;
    flex-wrap: wrap;
    gap: 5px 6px;
  }

  .xai-factlist li {
    padding: 1px 9px;
    border-radius: 10px;
    background: var(--xai-hover);
    font-size: 12px;
    overflow-wrap: anywhere;
  }

  .xai-tags {
    gap: 6px;
  }

  &.xai-widget .xai-tags input {
    width: 10em;
    min-height: 28px;
    padding: 2px 8px;
    border: 1px solid var(--xai-edge);
    border-radius: 7px;
    background: var(--xai-field);
    color: inherit;
    font-size: 12px;
  }

  .xai-tags .xai-link {
    padding: 0 3px;
    text-decoration: none;
  }

  @media (max-width: 760px) {
    & {
      width: 100vw;
      height: 100dvh;
      overflow: auto;
      border: 0;
      border-radius: 0;
    }

    .xai-viewerhead {
      position: sticky;
      z-index: 1;
      top: 0;
      gap: 8px;
      padding: 8px 10px;
      background: var(--xai-ground);
    }

    .xai-viewerhead > * {
      order: 1;
    }

    .xai-viewerhead > .xai-steps {
      flex: 1 1 calc(100% - 60px);
      flex-wrap: nowrap;
      order: 0;
      margin: 0;
    }

    .xai-viewerhead > .xai-close {
      order: 0;
    }

    &.xai-widget .xai-percent {
      display: none;
    }

    .xai-sheets {
      display: block;
      flex: none;
    }

    .xai-view {
      flex: none;
      height: 52vh;
    }

    .xai-about {
      overflow: visible;
      border: 0;
    }
  }
}
`});function l(i,t={},...e){let o=document.createElement(i);for(let[n,a]of Object.entries(t))n.startsWith("on")?o.addEventListener(n.slice(2),a):a===!0?o.setAttribute(n,""):a!==!1&&a!=null&&o.setAttribute(n,String(a));Ye.has(i)&&o.setAttribute("data-lm-suppress-shortcuts","true");for(let n of e.flat())n!=null&&n!==""&&o.append(n);return o}function k(i,t,e={}){let{class:o="xai-small",...n}=e;return l("button",{type:"button",class:`xai-button ${o}`,onclick:t,...n},i)}function Q(i,t,e={}){return l("button",{type:"button",class:"xai-link",onclick:t,...e},i)}function z(i,t){i.textContent!==t&&(i.textContent=t),i.hidden=t===""}function M(i){return Vt+=1,`xai-${Qe}-${i}-${Vt}`}function Yt(i,t,e,o={}){let n=k(i,async()=>{let a=await Xe(t());n.textContent=a?"Copied":"Not copied",e(a?"The cell is in the clipboard.":"Select the cell and copy it."),setTimeout(()=>{n.textContent=i},2e3)},o);return n}async function Xe(i){try{return await navigator.clipboard.writeText(i),!0}catch{let t=l("textarea",{class:"xai-unseen","aria-hidden":"true"});t.value=i,(document.querySelector("dialog[open]")??document.body).append(t),t.select();let e=document.execCommand("copy");return t.remove(),e}}var Ye,Qe,Vt,L=x(()=>{"use strict";Ye=new Set(["button","input","pre","select","summary","textarea"]);Qe=Math.random().toString(36).slice(2,8),Vt=0});function Qt(i,{say:t,side:e,tag:o}){let{prompt:n,rewritten:a,facts:r=[],created:s,inputs:c=[],tags:p=[],cell:h,lineage:m}=i,u=s?[new Date(s*1e3).toLocaleString(void 0,ei)]:[],d=a?[E("Rewritten prompt",X(a)),E("Prompt as asked",X(n))]:[E("Prompt",X(n))],_={class:"xai-factlist",role:"list","aria-label":"Facts"};return d.push(l("ul",_,[...r,...u].map(ze=>l("li",{},ze)))),e?[l("h3",{class:"xai-side"},e),...d]:(c.length&&!m?.ancestors.length&&d.push(E("Made from",l("p",{},c.join(", ")))),o&&d.push(oi(p,o)),h&&d.push(E(ti,ii(h),Yt("Copy the cell",()=>h,t))),d)}function oi(i,t){let e=()=>{let a=o.value.trim();a&&t(a,!0),o.value=""},o=l("input",{type:"text",id:M("tag"),"aria-label":"Add a tag",placeholder:"Add a tag",maxlength:60,size:10,onkeydown:a=>a.key==="Enter"&&e()}),n=i.map(a=>l("span",{class:"xai-chip"},a," ",Q("×",()=>t(a,!1),{"aria-label":`Take the tag ${a} away`})));return E("Tags",l("div",{class:"xai-row xai-tags"},n,o,k("Add",e)))}function Xt({id:i,lineage:{ancestors:t,descendants:e}},{show:o,thumbnail:n}){let a=[...t,...i===null?[]:[i],...e];return a.length<2?[]:a.map((r,s)=>{let c=r===i?"This picture":s<t.length?"Made from this":"An edit of it",p=l("img",{alt:"",hidden:!0});n(r).then(d=>{p.src=d,p.hidden=!d});let h={class:"xai-link xai-kin","aria-label":`${c}, ${s+1} of ${a.length}`,"aria-current":r===i?"true":null},m=l("span",{class:"xai-quiet"},r===i?"This picture":c),u=Q("",()=>o(r),h);return u.append(p,m),l("li",{},u)})}var ti,ei,E,X,ii,te=x(()=>{"use strict";L();ti="The cell that made it",ei={dateStyle:"medium",timeStyle:"short"},E=(i,...t)=>l("section",{},l("h3",{class:"xai-title xai-quiet"},i),t),X=i=>l("p",{class:"xai-prompt",dir:"auto"},i||"No prompt"),ii=i=>l("pre",{class:"xai-cell",tabindex:0,role:"group","aria-label":"The cell that made it"},l("code",{},i))});function ee({width:i,height:t},e){let o=Math.min(1,e.width/i,e.height/t);return{width:i*o,height:t*o}}function ie(i,t,e,o,n={x:0,y:0}){let a=Math.max(1,Math.min(16,t)),r=a/i.zoom,s=n.x-(n.x-i.x)*r,c=n.y-(n.y-i.y)*r;return et({zoom:a,x:s,y:c},e,o)}function et({zoom:i,x:t,y:e},o,n){let a=Math.max(0,(o.width*i-n.width)/2),r=Math.max(0,(o.height*i-n.height)/2);return{zoom:i,x:A(t,-a,a),y:A(e,-r,r)}}function A(i,t,e){return Math.max(t,Math.min(e,i))+0}var tt,oe=x(()=>{"use strict";tt={zoom:1,x:0,y:0}});var P,ni,O,ne=x(()=>{"use strict";oe();L();P=60,ni={ArrowLeft:[P,0],ArrowRight:[-P,0],ArrowUp:[0,P],ArrowDown:[0,-P]},O=class{look=tt;images=[];picture={width:1,height:1};#t=new Map;constructor(t){this.changed=t,this.handle=l("span",{class:"xai-handle",hidden:!0,"aria-hidden":"true"}),this.plane=l("div",{class:"xai-plane"},this.handle),this.slider=l("input",{type:"range",class:"xai-slider",min:0,max:100,step:"any",value:50,"aria-label":"How much of the first picture is seen",oninput:()=>this.#e(),onkeydown:e=>this.#o(e)}),this.element=l("div",{class:"xai-view",tabindex:0,role:"group","data-lm-suppress-shortcuts":"true","aria-label":"Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",ondblclick:e=>this.#a(e),onpointerdown:e=>this.#s(e),onpointermove:e=>this.#l(e),onpointerup:e=>this.#t.delete(e.pointerId),onpointercancel:e=>this.#t.delete(e.pointerId)},this.plane),this.element.addEventListener("wheel",e=>this.#r(e),{passive:!1}),this.watch=new ResizeObserver(()=>this.draw()),this.watch.observe(this.element)}show(t,e=[]){this.images=t;let[o,n]=t,[a=0,r=0]=e;this.picture={width:a||1,height:r||1};let s=()=>{this.images[0]!==o||a||!o?.naturalWidth||(this.picture={width:o.naturalWidth,height:o.naturalHeight},this.draw())};o?.addEventListener("load",s),this.plane.replaceChildren(...t,this.handle),this.handle.hidden=this.slider.hidden=!n,this.slider.value="50",n&&this.#e(),s(),this.fit()}get frame(){return{width:this.element.clientWidth,height:this.element.clientHeight}}get drawn(){return ee(this.picture,this.frame)}fit(){this.look=tt,this.draw()}whole(t={x:0,y:0}){let e=this.picture.width/devicePixelRatio/this.drawn.width;this.zoom(e/this.look.zoom,t)}zoom(t,e={x:0,y:0}){this.look=ie(this.look,this.look.zoom*t,this.drawn,this.frame,e),this.draw()}pan(t,e){let o={...this.look,x:this.look.x+t,y:this.look.y+e};this.look=et(o,this.drawn,this.frame),this.draw()}draw(){let{width:t,height:e}=this.drawn,{zoom:o,x:n,y:a}=this.look;this.plane.style.cssText=`width: ${t}px; height: ${e}px; transform: translate(${n}px, ${a}px) scale(${o}); --xai-zoom: ${o}`,this.element.classList.toggle("xai-zoomed",o>1);let r=this.drawn.width*o*devicePixelRatio;this.changed(Math.round(r/this.picture.width*100))}#a(t){this.look.zoom>1?this.fit():this.whole(this.#i(t))}#e(){let[,t]=this.images;t&&(t.style.clipPath=`inset(0 0 0 ${this.slider.value}%)`),this.handle.style.left=`${this.slider.value}%`}#o(t){let o={ArrowLeft:-1,ArrowDown:-1,ArrowRight:1,ArrowUp:1,PageDown:-10,PageUp:10}[t.key];o!==void 0&&(t.preventDefault(),t.stopPropagation(),this.slider.value=String(A(Number(this.slider.value)+o,0,100)),this.#e())}#i({clientX:t,clientY:e}){let{left:o,top:n,width:a,height:r}=this.element.getBoundingClientRect();return{x:t-o-a/2,y:e-n-r/2}}#r(t){t.preventDefault(),this.zoom(1.0015**-A(t.deltaY*(t.deltaMode?30:1),-240,240),this.#i(t))}#s(t){t.button===0&&(this.#t.set(t.pointerId,this.#i(t)),this.element.setPointerCapture(t.pointerId),this.sliding=t.target===this.handle||this.images.length>1&&this.look.zoom===1,this.sliding&&this.#n(t))}#l(t){let e=this.#t.get(t.pointerId);if(!e)return;let[o]=[...this.#t].filter(([a])=>a!==t.pointerId).map(([,a])=>a),n=this.#i(t);if(this.#t.set(t.pointerId,n),o){let a=({x:r,y:s})=>Math.hypot(r-o.x,s-o.y);this.zoom(a(n)/(a(e)||1),o)}else this.sliding?this.#n(t):this.pan(n.x-e.x,n.y-e.y)}#n({clientX:t}){let{left:e,width:o}=this.plane.getBoundingClientRect();this.slider.value=String(A((t-e)/o*100,0,100)),this.#e()}key(t){let e=ni[t];if(t==="+"||t==="=")this.zoom(1.5);else if(t==="-")this.zoom(1/1.5);else if(t==="0")this.fit();else if(t==="1")this.whole();else if(e&&this.look.zoom>1)this.pan(...e);else return!1;return!0}}});var q,ae=x(()=>{"use strict";L();q=class{constructor({step:t,press:e,turn:o,close:n},a){let r=(s,c,p)=>k(s,()=>e(c),{"aria-label":p});this.before=k("←",()=>t(-1),{"aria-label":"Picture before (←)"}),this.after=k("→",()=>t(1),{"aria-label":"Picture after (→)"}),this.percent=l("span",{class:"xai-quiet xai-percent"}),this.star=r("☆ Star","*","Star (*)"),this.turn=k("Before and after",o,{hidden:!0}),this.single=[this.before,this.after,...a.star?[this.star]:[],...a.save?[r("Save","s","Save (S)")]:[],...a.edit?[r("Edit this","e","Edit this (E)")]:[]],this.zooms=l("div",{class:"xai-row xai-tools"},r("−","-","Smaller (−)"),this.percent,r("+","+","Larger (+)"),r("Fit","0","Fit (0)"),r("1:1","1","1:1, a pixel on one of the screen (1)")),this.acts=l("div",{class:"xai-row xai-tools"},this.turn,this.single.slice(2)),this.close=k("✕",n,{class:"xai-small xai-close","aria-label":"Close"})}show(t,e){for(let o of this.single)o.hidden=t;this.turn.hidden=!e,this.turn.textContent="Back to the picture"}know({id:t,starred:e,lineage:o}){this.turn.hidden=o.ancestors.length===0,this.turn.textContent="Before and after",this.star.disabled=t===null,this.star.textContent=e?"★ Starred":"☆ Star",this.star.setAttribute("aria-label",`${e?"Take the star away":"Star"} (*)`)}}});var ai,R,re=x(()=>{"use strict";te();L();ne();ae();ai={ArrowLeft:-1,ArrowRight:1,PageUp:-1,PageDown:1},R=class{keys=[];shown;#t;#a=[];#e=[];#o=Promise.resolve();constructor(t){this.source=t;let e={step:d=>this.step(d),press:d=>this.press(d),turn:()=>this.turn(),close:()=>this.element.close()};this.tools=new q(e,t),this.stage=new O(d=>z(this.tools.percent,`${d} %`)),this.title=l("h2",{class:"xai-title",id:M("title")}),this.note=l("p",{class:"xai-hint",role:"status",hidden:!0}),this.about=l("div",{class:"xai-about"});let o={class:"xai-strip",role:"list","aria-label":"Where it comes from",hidden:!0};this.strip=l("ul",o);let{before:n,after:a,zooms:r,acts:s,close:c}=this.tools,p=l("div",{class:"xai-row xai-steps"},n,this.title,a),{element:h,slider:m}=this.stage,u=l("div",{class:"xai-look"},h,m,this.note,this.strip);this.element=l("dialog",{class:"xai-widget xai-viewer","aria-labelledby":this.title.id},l("div",{class:"xai-viewerhead"},p,r,s,c),l("div",{class:"xai-sheets"},u,this.about)),this.element.addEventListener("keydown",d=>this.#u(d)),this.element.addEventListener("close",()=>this.#d()),this.element.addEventListener("click",({target:d})=>{d===this.element&&this.element.close()})}async open(...t){this.keys=t,this.shown=void 0,this.#t=void 0,await this.#i(t)}async turn(){if(this.#t!==void 0)return this.open(this.#t);let t=this.shown?.lineage.ancestors.at(-1);if(t!==void 0)return[this.#t]=this.keys,this.keys=[t,this.#t],this.shown=void 0,this.#i(this.keys)}async#i(t){let e=t.length>1,{source:o}=this,n=e?"":o.place?.(t[0])??"";this.title.textContent=e?"Compare":`Picture ${n}`.trim(),this.tools.show(e,this.#t!==void 0),this.element.classList.toggle("xai-two",e),this.#n(t.map(a=>o.glance(a))),this.#r(e),z(this.note,"Loading the original …"),this.#o=this.#s(t),await this.#o}#r(t){let e=this.element.open;e||this.element.showModal();let o=document.activeElement,n=e&&this.element.contains(o)&&o?.getClientRects().length;t?this.stage.slider.focus():n||this.stage.element.focus()}async#s(t){try{let e=await Promise.all(t.map(o=>this.source.load(o)));if(this.keys===t)this.#l(e);else for(let{url:o}of e)URL.revokeObjectURL(o)}catch(e){let{message:o}=e,n=this.stage.images.some(a=>a.src);this.keys===t&&z(this.note,n?`This is a preview. ${o}`:o)}}#l(t){let e=this.#e;this.#e=t.map(({url:n})=>n);let o=t.map(({error:n})=>n).filter(Boolean);z(this.note,o.join(" ")),this.shown=t.length===1?t[0]:void 0,this.#n(t);for(let n of e)URL.revokeObjectURL(n)}#n(t){let e=this.#a===this.keys;this.#a=this.keys;let n=e?this.stage.images:t.map(()=>l("img",{alt:"",draggable:"false"}));for(let[r,s]of t.entries()){let c=n[r];!c||!s||(c.alt=s.alt??"",s.url&&(c.src=s.url))}let a=t[0]?.size;(!e||a?.length&&a[0]!==this.stage.picture.width)&&this.stage.show(n,a),this.#c(t)}#c(t){let{tag:e,thumbnail:o}=this.source,{shown:n}=this,a=n?.id??null,r=e&&a!==null?e.bind(null,a):void 0,s=u=>this.say(u),c=t.length>1?["Left","Right"]:[],p=t.map((u,d)=>{let _=c[d];return u?Qt(u,{say:s,side:_,tag:r}):[]});this.about.replaceChildren(...p.flat());let m=n&&o?Xt(n,{show:u=>this.open(u),thumbnail:o}):[];this.strip.replaceChildren(...m),this.strip.hidden=m.length===0,n&&this.tools.know(n)}changed(t){let e=this.shown&&t.find(({id:n})=>n===this.shown?.id);if(!e||!this.shown)return;let o=this.about.contains(document.activeElement);this.shown={...this.shown,starred:e.starred,tags:e.tags},this.#c([this.shown]),o&&this.about.querySelector("input")?.focus()}say(t){this.element.open&&z(this.note,t)}#d(){this.keys=[],this.shown=this.#t=void 0,this.stage.show([]),this.about.replaceChildren(),this.strip.replaceChildren();for(let t of this.#e)URL.revokeObjectURL(t);this.#e=[],this.source.closed?.()}async step(t){if(this.keys.length!==1)return;let e=await this.source.next(this.keys[0],t);e!==void 0&&await this.open(e)}press(t){let e=ai[t];if(this.stage.key(t))return!0;if(e!==void 0)this.step(e);else if(t==="b")this.turn();else return this.#p(t);return!0}#p(t){let{source:e}=this,[o]=this.keys;if(this.keys.length!==1)return!1;if(t==="*"&&e.star)this.#h();else if(t==="s"&&e.save)e.save(o);else if(t==="e"&&e.edit)this.element.close(),e.edit(o);else return!1;return!0}async#h(){let{keys:t}=this;await this.#o;let{shown:e}=this;this.keys===t&&e&&e.id!==null&&this.source.star?.(e.id,!e.starred)}#u(t){t.key==="Escape"&&t.stopPropagation();let{target:e,key:o}=t;t.ctrlKey||t.metaKey||t.altKey||e.closest("input, pre")||this.press(o.length===1?o.toLowerCase():o)&&(t.preventDefault(),t.stopPropagation())}}});function le(i){let t=i.querySelectorAll(se);for(let e of t)!e.closest(".jp-OutputArea-output")?.querySelector(se+he)||e.closest(".xai-widget")||(e.classList.add(I),e.tabIndex=0,e.setAttribute("role","button"),e.setAttribute("aria-haspopup","dialog"))}function it(i,t){for(let e of i)for(let o of e.querySelectorAll("strong, summary")){if(o.textContent?.trim().replace(/:$/,"")!==t)continue;let n=o.closest("summary")?.parentElement??o.parentElement;return(n?.querySelector(":scope > div bdi")??n?.querySelector("bdi"))?.textContent??""}return""}function ce(i){let t=i.parentElement?.querySelector("figcaption"),o=i.closest(".jp-OutputArea-output")?.querySelector(":scope > div > div:first-child"),n=[t,o?.querySelector("img")?null:o].filter(h=>!!h),a=i.matches(he),r=[...t?.children??[]].find(h=>h.matches("div")&&!h.querySelector("strong")),s=(a?r:t)?.textContent??"",c=[i.naturalWidth,i.naturalHeight],[,p]=/(\d+) × \d+/.exec(s)??[];return{id:null,url:i.src,alt:i.alt,size:c,prompt:it(n,"Prompt")||it(n,"Prompt as written"),rewritten:it(n,"Rewritten prompt"),facts:s.split(" · ").filter(h=>h&&!/^\[[\d:]+\]$/.test(h)),error:Number(p)>c[0]?"This is the preview that the notebook holds.":"",created:0,starred:!1,tags:[],inputs:[],cell:"",lineage:{ancestors:[],descendants:[]},media_type:""}}function de(i){return[...(i.closest(".jp-OutputArea")??document).querySelectorAll(`.${I}`)]}function pe(i){let{target:t}=i;!(t instanceof HTMLImageElement)||!t.classList.contains(I)||(i.preventDefault(),i.stopPropagation(),ue.open(t))}function xe(){let i=document.createElement("style");i.textContent=Gt+Jt+ri,document.head.append(i),document.body.append(ue.element),le(document),new MutationObserver(e=>{for(let{addedNodes:o}of e)for(let n of o)n instanceof Element&&le(n)}).observe(document.body,{childList:!0,subtree:!0}),document.addEventListener("click",e=>{!e.ctrlKey&&!e.metaKey&&!e.shiftKey&&!e.altKey&&pe(e)});let t=new Set(["Enter"," "]);window.addEventListener("keydown",e=>t.has(e.key)&&pe(e),!0)}var I,se,he,ri,ue,fe=x(()=>{"use strict";Ft();Zt();re();I="xai-opens",se='figure > img[src^="data:image/"]',he='[alt*=", generated from the prompt: "]',ri=`.${I} { cursor: zoom-in; }
.${I}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;ue=new R({glance:ce,load:async i=>(await i.decode().catch(()=>{}),ce(i)),next:(i,t)=>{let e=de(i),o=e.indexOf(i);return o<0?void 0:e[o+t]},place:i=>{let t=de(i);return t.length>1?`${t.indexOf(i)+1} of ${t.length}`:""}})});var ve={};ot(ve,{default:()=>di});var me,ge,we,be,ye,si,li,ci,di,ke=x(()=>{"use strict";me=f(lt(),1),ge=f(N(),1),we=f(pt(),1),be=f(ut(),1),ye=f(B(),1);Ot();Kt();fe();si={id:"xai-notebook:cells",description:"Shows a cell of %%xai_image as text.",autoStart:!0,requires:[ge.IEditorExtensionRegistry],activate:(i,t)=>t.addExtension(Pt)},li={id:"xai-notebook:places",description:"Adds the panel and the library to launcher and command palette.",autoStart:!0,requires:[ye.INotebookTracker],optional:[me.ICommandPalette,be.ILauncher,we.IDefaultFileBrowser],activate:(i,t,e,o,n)=>{Wt(i,t,()=>n?.model.path),V.forEach(({command:a},r)=>{e?.addItem({command:a,category:"xAI images",rank:r}),o?.add({command:a,category:"Other",rank:100+r})})}},ci={id:"xai-notebook:pictures",description:"Opens the pictures of cells in a viewer.",autoStart:!0,activate:xe},di=[si,li,ci]});g();var Se={};globalThis._JUPYTERLAB??={};globalThis._JUPYTERLAB["xai-notebook"]={init(i){Se=i},async get(){await D(Se);let{default:i}=await Promise.resolve().then(()=>(ke(),ve));return()=>({__esModule:!0,default:i})}};})();
