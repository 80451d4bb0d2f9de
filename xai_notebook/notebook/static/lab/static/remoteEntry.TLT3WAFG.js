"use strict";(()=>{var Rt=Object.create;var M=Object.defineProperty;var Pt=Object.getOwnPropertyDescriptor;var qt=Object.getOwnPropertyNames;var Nt=Object.getPrototypeOf,Dt=Object.prototype.hasOwnProperty;var x=(i,e,t)=>()=>{if(t)throw t[0];try{return i&&(e=i(i=0)),e}catch(o){throw t=[o],o}};var b=(i,e)=>()=>{try{return e||i((e={exports:{}}).exports,e),e.exports}catch(t){throw e=0,t}},ae=(i,e)=>{for(var t in e)M(i,t,{get:e[t],enumerable:!0})},se=(i,e,t,o)=>{if(e&&typeof e=="object"||typeof e=="function")for(let n of qt(e))!Dt.call(i,n)&&n!==t&&M(i,n,{get:()=>e[n],enumerable:!(o=Pt(e,n))||o.enumerable});return i};var f=(i,e,t)=>(t=i!=null?Rt(Nt(i)):{},se(e||!i||!i.__esModule?M(t,"default",{value:i,enumerable:!0}):t,i)),y=i=>se(M({},"__esModule",{value:!0}),i);var w={};ae(w,{NAMES:()=>le,loadModules:()=>B,modules:()=>ce});async function B(i){for(let e of le){let t=Object.values(i[e]??{}),o=t.find(({loaded:r})=>r)??t[0];if(o===void 0)throw new Error(`xai-notebook: this JupyterLab has no ${e}`);let n=await o.get();ce[e]=n()}}var le,ce,m=x(()=>{"use strict";le=["@codemirror/language","@codemirror/state","@codemirror/view","@jupyterlab/apputils","@jupyterlab/cells","@jupyterlab/codemirror","@jupyterlab/filebrowser","@jupyterlab/launcher","@jupyterlab/notebook","@jupyterlab/ui-components","@lezer/highlight","@lumino/coreutils"],ce={}});var pe=b((Oi,de)=>{de.exports=(m(),y(w)).modules["@jupyterlab/apputils"]});var H=b((ji,he)=>{he.exports=(m(),y(w)).modules["@jupyterlab/codemirror"]});var xe=b((_i,ue)=>{ue.exports=(m(),y(w)).modules["@jupyterlab/filebrowser"]});var me=b((Ri,fe)=>{fe.exports=(m(),y(w)).modules["@jupyterlab/launcher"]});var W=b((Pi,ge)=>{ge.exports=(m(),y(w)).modules["@jupyterlab/notebook"]});var F=b((qi,we)=>{we.exports=(m(),y(w)).modules["@codemirror/language"]});var ye=b((Ni,be)=>{be.exports=(m(),y(w)).modules["@codemirror/state"]});var ke=b((Di,ve)=>{ve.exports=(m(),y(w)).modules["@codemirror/view"]});var K=b((Ui,Se)=>{Se.exports=(m(),y(w)).modules["@lezer/highlight"]});var ze,Ee=x(()=>{ze={"-n":"","--count":"","-m":"","--model":"","-a":"","--aspect-ratio":"","-r":"","--resolution":"","-q":"","--quality":"","-i":"","--image":"","-u":"","--user":"","-f":"","--format":"","--as":"","-e":"","--export":"","--name":"","--no-metadata":null,"--share":"","--columns":"","--captions":"","--full":null,"--compare":null,"--matrix":"[\\w-]+=","--each":"","--key":"","--rewrite":"grok","--fresh":null,"--redo":"","--replay":null,"--reuse":null,"--max-cost":"","--dry-run":null,"--timeout":"","--batch":null,"--local":null,"-h":null,"--help":null}});function Le(i){for(let e of i)if(e.trim())return Bt.test(e);return!1}function Ce(i,e){for(;!i.eol();){if(!e.depth&&i.match("}}")){e.depth=null;break}if(i.match(Vt))continue;let t=i.next()??"";"([{".includes(t)?e.depth=(e.depth??0)+1:")]}".includes(t)&&(e.depth=Math.max((e.depth??0)-1,0))}return"template"}function Zt(i,e){let t=e.value;if(e.value=null,i.match(/^--(?!\S)/))return e.region="text","option";let[o]=i.match(Kt,!1)??[];if(o!==void 0&&o in Ae){i.match(o);let a=!i.eol()&&!/\s/.test(i.peek()??"");return e.value=a?"":Ae[o],"option"}i.match(Ft)||i.next();let n=i.current();if(t!==null&&!Gt.test(n)&&n.search(t)===0)return"value";let r=n.indexOf("{{");return r>0&&i.backUp(n.length-r),null}var $,C,Ae,Bt,Ht,Wt,Ft,Kt,Gt,Vt,Jt,Te,G,V,Ie=x(()=>{"use strict";$=f(F(),1),C=f(K(),1);Ee();Ae=ze,Bt=/^\s*%%xai_image(?!\S)/,Ht=/^%%?xai_\w+(?!\S)/,Wt=String.raw`\$'(?:\\.|[^'\\])*'|"[^"]*"|'[^']*'`,Ft=new RegExp(String.raw`^(?:${Wt}|(?!\{\{)\S)+`),Kt=/^(?:--[A-Za-z][\w-]*(?==|\s|$)|-[A-Za-z](?!-))/,Gt=/^--?[A-Za-z]/,Vt=/^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")/;Jt={name:"xai-prompt",startState:()=>({region:"start",value:null,depth:null}),token(i,e){return e.region==="line"&&i.sol()&&(e.region="text"),e.depth!==null?Ce(i,e):e.region!=="text"&&i.eatSpace()?null:e.region==="start"&&(e.region="line",i.match(Ht))?"magic":i.match("{{")?(e.value=null,e.depth=0,Ce(i,e)):e.region==="line"?Zt(i,e):(i.skipTo("{{")||i.skipToEnd(),null)}},Te={magic:C.Tag.define(),option:C.Tag.define(),value:C.Tag.define(),template:C.Tag.define()},G=$.StreamLanguage.define({...Jt,tokenTable:Te}),V=$.HighlightStyle.define(Object.entries(Te).map(([i,e])=>({tag:e,class:`xai-${i}`})))});function Re(i){return Xt.exec(i)?.[0].length}function Me({state:i,visibleRanges:e}){let t=new v.RangeSetBuilder,o=(r,a,s)=>{r<a&&t.add(r,a,S.Decoration.mark({class:s}))},n=0;for(let r of e)for(n=Math.max(n,r.from);n<=r.to;){let a=i.doc.lineAt(n);n=a.to+1;let s=Re(a.text);if(s===void 0)continue;let l=a.from+s,p=l,g=G.parser.parse(a.text.slice(s));(0,je.highlightTree)(g,V,(h,u,d)=>{o(p,l+h,Z),o(l+h,l+u,d),p=l+u}),o(p,a.to,Z)}return t.finish()}function ti(i){let e=new v.Compartment,t=o=>Le(o)?Qt:ei;return[Yt,e.of(t(i.split(`
`))),v.EditorState.transactionExtender.of(o=>{if(!o.docChanged)return null;let n=t(o.newDoc.iterLines());return n===e.get(o.startState)?null:{effects:e.reconfigure(n)}})]}var $e,v,S,Oe,je,Xt,Z,_e,L,Yt,Qt,J,ei,Pe,qe=x(()=>{"use strict";$e=f(F(),1),v=f(ye(),1),S=f(ke(),1),Oe=f(H(),1),je=f(K(),1);Ie();Xt=/^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/,Z="xai-text",_e={closeBrackets:{brackets:[]}},L={fontStyle:"normal",fontWeight:"normal"},Yt=S.EditorView.baseTheme({[`.${Z}`]:{...L,color:"var(--jp-content-font-color1)"},".xai-magic":{...L,color:"var(--jp-mirror-editor-operator-color)"},".xai-option":{...L,color:"var(--jp-mirror-editor-property-color)"},".xai-value":{...L,color:"var(--jp-mirror-editor-keyword-color)"},".xai-template":{...L,color:"var(--jp-mirror-editor-string-color)",backgroundColor:"color-mix(in srgb, currentcolor 8%, transparent)",borderRadius:"3px"},".cm-searching span":{color:"inherit"},"&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket":{color:"inherit !important",backgroundColor:"transparent !important"}}),Qt=[v.Prec.highest([G,v.EditorState.languageData.of(()=>[_e])]),(0,$e.syntaxHighlighting)(V),S.EditorView.lineWrapping,S.EditorView.editorAttributes.of({class:"xai-prompt"})];J=class{constructor(e){this.marks=Me(e)}update({docChanged:e,viewportChanged:t,view:o}){(e||t)&&(this.marks=Me(o))}},ei=v.Prec.highest([S.ViewPlugin.fromClass(J,{decorations:({marks:i})=>i}),v.EditorState.languageData.of((i,e)=>Re(i.doc.lineAt(e).text)===void 0?[]:[_e])]);Pe={name:"xai-notebook:prompt",factory:({model:i})=>!("type"in i)||i.type!=="code"?null:Oe.EditorExtensionRegistry.createImmutableExtension(ti(i.sharedModel.getSource()))}});var De=b((Gi,Ne)=>{Ne.exports=(m(),y(w)).modules["@jupyterlab/cells"]});var Be=b((Vi,Ue)=>{Ue.exports=(m(),y(w)).modules["@jupyterlab/ui-components"]});var He,We,ii,Fe,Ke,Ge=x(()=>{"use strict";He=f(Be(),1),We=(i,e)=>new He.LabIcon({name:`xai-notebook:${i}`,svgstr:`<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">${e}</g></svg>`}),ii="M18.5 1l1.1 2.9 2.9 1.1-2.9 1.1-1.1 2.9-1.1-2.9-2.9-1.1 2.9-1.1z",Fe=We("panel",`<path d="${ii}"/><path d="M13 4H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-8h-2v8H4V6h9z"/><path d="M5.5 17.5h11l-3.6-4.8-2.6 3.3-1.9-2.2z"/>`),Ke=We("library",'<path d="M4 2h16v2H4zM3 5.5h18v2H3z"/><path d="M20 9H4a2 2 0 0 0-2 2v9a2 2 0 0 0 2 2h16a2 2 0 0 0 2-2v-9a2 2 0 0 0-2-2zm0 11H4v-9h16z"/><path d="M6 18.5h12l-4-5.2-2.9 3.6-2-2.3z"/>')});var Ze=b((Ji,Ve)=>{Ve.exports=(m(),y(w)).modules["@lumino/coreutils"]});var X,oi,ni,ri,O,Je=x(()=>{"use strict";X=f(Ze(),1),oi="xai-notebook:permits",ni=6e4,ri=1e4,O=class{#e=new Map;constructor(){this.channel=new BroadcastChannel(oi),this.channel.addEventListener("message",({data:e})=>this.#o(e))}give(e){let t=X.UUID.uuid4();return this.#e.set(e,{id:t,made:Date.now()}),t}async take(e,t=ri){return this.#i(e)??await this.#t(e,t)}#i(e){let t=this.#e.get(e);return this.#e.delete(e),t&&Date.now()-t.made<ni?t.id:void 0}#t(e,t){let o=X.UUID.uuid4();return new Promise(n=>{let r=l=>{clearTimeout(a),this.channel.removeEventListener("message",s),n(l)},a=setTimeout(r,t,void 0),s=({data:l})=>{l?.tells===o&&r(typeof l.id=="string"?l.id:void 0)};this.channel.addEventListener("message",s),this.channel.postMessage({asks:o,path:e})})}#o(e){if(typeof e?.asks!="string"||typeof e.path!="string")return;let t=this.#i(e.path);t!==void 0&&this.channel.postMessage({tells:e.asks,id:t})}}});async function si({content:i},e,t){if(e.status!=="idle")return i.widgets.some(({model:s})=>s.sharedModel.getSource().includes(_));let n={code:"",silent:!0,store_history:!1,user_expressions:{loaded:`'${t}' in get_ipython().magics_manager.magics['line']`}},{content:r}=await e.requestExecute(n).done;return(r.status==="ok"?JSON.stringify(r.user_expressions):"").includes('"text/plain":"True"')}async function li(i,e){let{content:t,sessionContext:o}=i,n=o.session?.kernel,r=n&&await si(i,n,e)?"":`${_}
`,a=t.activeCell?.model;(a?.type!=="code"||a.sharedModel.getSource().trim())&&Q.NotebookActions.insertBelow(t),t.deselectAll(),t.activeCell?.model.sharedModel.setSource(`${r}%${e}`),await Q.NotebookActions.run(t,o)}async function Xe(i){let{content:e,context:t,sessionContext:o}=i;if(await t.ready,!i.isAttached)return;let n=await Ye.take(t.path);if(n===void 0)return;await o.ready,await o.session?.kernel?.info;let[r,...a]=e.widgets;if(!i.isAttached||a.length||!(r instanceof Y.CodeCell))return;await r.ready;let{sharedModel:s}=r.model;s.getId()!==n||!ai.has(s.getSource())||await Y.CodeCell.execute(r,o)}async function ci(i,e,t){let{contents:o,kernelspecs:n}=i.serviceManager;await n.ready;let r=Object.values(n.specs?.kernelspecs??{}),a=n.specs?.default,s=r.filter(d=>d?.language==="python"),l=s.find(d=>d?.name===a)??s[0],{path:p}=await o.newUntitled({path:t,type:"notebook"}),h={id:Ye.give(p),cell_type:"code",execution_count:null,metadata:{},outputs:[]},u=l?{kernelspec:{name:l.name,display_name:l.display_name,language:"python"}}:{};await o.save(p,{type:"notebook",format:"json",content:{cells:[{...h,source:`${_}
%${e}`}],metadata:u,nbformat:4,nbformat_minor:5}}),await i.commands.execute("docmanager:open",{path:p,factory:"Notebook"})}function Qe(i,e,t){for(let{command:o,magic:n,...r}of j)i.commands.addCommand(o,{...r,execute:async({cwd:a})=>{let s=e.currentWidget;s&&s===i.shell.currentWidget?await li(s,n):await ci(i,n,String(a??t()??""))}});e.forEach(Xe),e.widgetAdded.connect((o,n)=>{Xe(n)})}var Y,Q,j,_,ai,Ye,et=x(()=>{"use strict";Y=f(De(),1),Q=f(W(),1);Ge();Je();j=[{command:"xai-notebook:panel",magic:"xai_panel",label:"xAI image panel",caption:"Make images with a form, in this notebook or in a new one",icon:Fe},{command:"xai-notebook:library",magic:"xai_library",label:"xAI image library",caption:"Search and organize all your images, in this notebook or in a new one",icon:Ke}],_="%load_ext xai_notebook",ai=new Set(j.map(({magic:i})=>`${_}
%${i}`)),Ye=new O});var it,tt=x(()=>{it=`/* Colours come from the notebook's theme, with light defaults for pages without one. */

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
  /* biome-ignore lint/complexity/noImportantStyles: hidden must win over any class */
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
`});var nt,ot=x(()=>{nt=`/* The viewer: one picture in full, or two under a slider. */

/* Every rule has two classes, to win over the shared styles of other widgets in the page. */
.xai-widget.xai-viewer {
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

  .xai-slider {
    width: min(420px, 80%);
    margin: 0 auto 14px;
    accent-color: var(--xai-focus);
  }

  .xai-look > .xai-hint {
    padding: 0 14px 10px;
    text-align: center;
  }

  .xai-strip {
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

  .xai-kin {
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

  .xai-tags input {
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

    .xai-percent {
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
`});function c(i,e={},...t){let o=document.createElement(i);for(let[n,r]of Object.entries(e))n.startsWith("on")?o.addEventListener(n.slice(2),r):r===!0?o.setAttribute(n,""):r!==!1&&r!=null&&o.setAttribute(n,String(r));hi.has(i)&&o.setAttribute("data-lm-suppress-shortcuts","true");for(let n of t.flat())n!=null&&n!==""&&o.append(n);return o}function k(i,e,t={}){let{class:o="xai-small",...n}=t;return c("button",{type:"button",class:`xai-button ${o}`,onclick:e,...n},i)}function ee(i,e,t={}){return c("button",{type:"button",class:"xai-link",onclick:e,...t},i)}function E(i,e){i.textContent!==e&&(i.textContent=e),i.hidden=e===""}function R(i){return rt+=1,`xai-${ui}-${i}-${rt}`}function at(i,e,t,o={}){let n=k(i,async()=>{let r=await xi(e());n.textContent=r?"Copied":"Not copied",t(r?"Cell copied to the clipboard.":"Select the cell and copy it."),setTimeout(()=>{n.textContent=i},2e3)},o);return n}async function xi(i){try{return await navigator.clipboard.writeText(i),!0}catch{let e=c("textarea",{class:"xai-unseen","aria-hidden":"true"});e.value=i,(document.querySelector("dialog[open]")??document.body).append(e),e.select();let t=document.execCommand("copy");return e.remove(),t}}var hi,ui,rt,T=x(()=>{"use strict";hi=new Set(["button","input","pre","select","summary","textarea"]);ui=Math.random().toString(36).slice(2,8),rt=0});function st(i,{say:e,side:t,tag:o}){let{prompt:n,rewritten:r,facts:a=[],created:s,inputs:l=[],tags:p=[],cell:g,lineage:h}=i,u=s?[new Date(s*1e3).toLocaleString(void 0,mi)]:[],d=r?[z("Rewritten prompt",te(r)),z("Prompt as written",te(n))]:[z("Prompt",te(n))],U={class:"xai-factlist",role:"list","aria-label":"Facts"};return d.push(c("ul",U,[...a,...u].map(_t=>c("li",{},_t)))),t?[c("h3",{class:"xai-side"},t),...d]:(l.length&&!h?.ancestors.length&&d.push(z("Made from",c("p",{},l.join(", ")))),o&&d.push(wi(p,o)),g&&d.push(z(fi,gi(g),at("Copy the cell",()=>g,e))),d)}function wi(i,e){let t=()=>{let r=o.value.trim();r&&e(r,!0),o.value=""},o=c("input",{type:"text",id:R("tag"),"aria-label":"Add a tag",placeholder:"Add a tag",maxlength:60,size:10,onkeydown:r=>r.key==="Enter"&&t()}),n=i.map(r=>c("span",{class:"xai-chip"},r," ",ee("×",()=>e(r,!1),{"aria-label":`Remove the tag ${r}`})));return z("Tags",c("div",{class:"xai-row xai-tags"},n,o,k("Add",t)))}function lt({id:i,lineage:{ancestors:e,descendants:t}},{show:o,thumbnail:n}){let r=[...e,...i===null?[]:[i],...t];return r.length<2?[]:r.map((a,s)=>{let l=a===i?"This picture":s<e.length?"Source":"Edit of this picture",p=c("img",{alt:"",hidden:!0});n(a).then(d=>{p.src=d,p.hidden=!d});let g={class:"xai-link xai-kin","aria-label":`${l}, ${s+1} of ${r.length}`,"aria-current":a===i?"true":null},h=c("span",{class:"xai-quiet"},a===i?"This picture":l),u=ee("",()=>o(a),g);return u.append(p,h),c("li",{},u)})}var fi,mi,z,te,gi,ct=x(()=>{"use strict";T();fi="The cell that made it",mi={dateStyle:"medium",timeStyle:"short"},z=(i,...e)=>c("section",{},c("h3",{class:"xai-title xai-quiet"},i),e),te=i=>c("p",{class:"xai-prompt",dir:"auto"},i||"No prompt"),gi=i=>c("pre",{class:"xai-cell",tabindex:0,role:"group","aria-label":"The cell that made it"},c("code",{},i))});function dt({width:i,height:e},t){let o=Math.min(1,t.width/i,t.height/e);return{width:i*o,height:e*o}}function pt(i,e,t,o,n={x:0,y:0}){let r=Math.max(1,Math.min(16,e)),a=r/i.zoom,s=n.x-(n.x-i.x)*a,l=n.y-(n.y-i.y)*a;return oe({zoom:r,x:s,y:l},t,o)}function oe({zoom:i,x:e,y:t},o,n){let r=Math.max(0,(o.width*i-n.width)/2),a=Math.max(0,(o.height*i-n.height)/2);return{zoom:i,x:A(e,-r,r),y:A(t,-a,a)}}function A(i,e,t){return Math.max(e,Math.min(t,i))+0}var ie,ht=x(()=>{"use strict";ie={zoom:1,x:0,y:0}});var P,bi,q,ut=x(()=>{"use strict";ht();T();P=60,bi={ArrowLeft:[P,0],ArrowRight:[-P,0],ArrowUp:[0,P],ArrowDown:[0,-P]},q=class{look=ie;images=[];picture={width:1,height:1};#e=new Map;constructor(e){this.changed=e,this.handle=c("span",{class:"xai-handle",hidden:!0,"aria-hidden":"true"}),this.plane=c("div",{class:"xai-plane"},this.handle),this.slider=c("input",{type:"range",class:"xai-slider",min:0,max:100,step:"any",value:50,"aria-label":"Visible part of the first picture",oninput:()=>this.#t(),onkeydown:t=>this.#o(t)}),this.element=c("div",{class:"xai-view",tabindex:0,role:"group","data-lm-suppress-shortcuts":"true","aria-label":"Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",ondblclick:t=>this.#i(t),onpointerdown:t=>this.#s(t),onpointermove:t=>this.#l(t),onpointerup:t=>this.#e.delete(t.pointerId),onpointercancel:t=>this.#e.delete(t.pointerId)},this.plane),this.element.addEventListener("wheel",t=>this.#a(t),{passive:!1}),this.watch=new ResizeObserver(()=>this.draw()),this.watch.observe(this.element)}show(e,t=[]){this.images=e;let[o,n]=e,[r=0,a=0]=t;this.picture={width:r||1,height:a||1};let s=()=>{this.images[0]!==o||r||!o?.naturalWidth||(this.picture={width:o.naturalWidth,height:o.naturalHeight},this.draw())};o?.addEventListener("load",s),this.plane.replaceChildren(...e,this.handle),this.handle.hidden=this.slider.hidden=!n,this.slider.value="50",n&&this.#t(),s(),this.fit()}get frame(){return{width:this.element.clientWidth,height:this.element.clientHeight}}get drawn(){return dt(this.picture,this.frame)}fit(){this.look=ie,this.draw()}fullSize(e={x:0,y:0}){let t=this.picture.width/devicePixelRatio/this.drawn.width;this.zoom(t/this.look.zoom,e)}zoom(e,t={x:0,y:0}){this.look=pt(this.look,this.look.zoom*e,this.drawn,this.frame,t),this.draw()}pan(e,t){let o={...this.look,x:this.look.x+e,y:this.look.y+t};this.look=oe(o,this.drawn,this.frame),this.draw()}draw(){let{width:e,height:t}=this.drawn,{zoom:o,x:n,y:r}=this.look;this.plane.style.cssText=`width: ${e}px; height: ${t}px; transform: translate(${n}px, ${r}px) scale(${o}); --xai-zoom: ${o}`,this.element.classList.toggle("xai-zoomed",o>1);let a=this.drawn.width*o*devicePixelRatio;this.changed(Math.round(a/this.picture.width*100))}#i(e){this.look.zoom>1?this.fit():this.fullSize(this.#n(e))}#t(){let[,e]=this.images;e&&(e.style.clipPath=`inset(0 0 0 ${this.slider.value}%)`),this.handle.style.left=`${this.slider.value}%`}#o(e){let o={ArrowLeft:-1,ArrowDown:-1,ArrowRight:1,ArrowUp:1,PageDown:-10,PageUp:10}[e.key];o!==void 0&&(e.preventDefault(),e.stopPropagation(),this.slider.value=String(A(Number(this.slider.value)+o,0,100)),this.#t())}#n({clientX:e,clientY:t}){let{left:o,top:n,width:r,height:a}=this.element.getBoundingClientRect();return{x:e-o-r/2,y:t-n-a/2}}#a(e){e.preventDefault(),this.zoom(1.0015**-A(e.deltaY*(e.deltaMode?30:1),-240,240),this.#n(e))}#s(e){e.button===0&&(this.#e.set(e.pointerId,this.#n(e)),this.element.setPointerCapture(e.pointerId),this.sliding=e.target===this.handle||this.images.length>1&&this.look.zoom===1,this.sliding&&this.#r(e))}#l(e){let t=this.#e.get(e.pointerId);if(!t)return;let[o]=[...this.#e].filter(([r])=>r!==e.pointerId).map(([,r])=>r),n=this.#n(e);if(this.#e.set(e.pointerId,n),o){let r=({x:a,y:s})=>Math.hypot(a-o.x,s-o.y);this.zoom(r(n)/(r(t)||1),o)}else this.sliding?this.#r(e):this.pan(n.x-t.x,n.y-t.y)}#r({clientX:e}){let{left:t,width:o}=this.plane.getBoundingClientRect();this.slider.value=String(A((e-t)/o*100,0,100)),this.#t()}key(e){let t=bi[e];if(e==="+"||e==="=")this.zoom(1.5);else if(e==="-")this.zoom(1/1.5);else if(e==="0")this.fit();else if(e==="1")this.fullSize();else if(t&&this.look.zoom>1)this.pan(...t);else return!1;return!0}}});var N,xt=x(()=>{"use strict";T();N=class{constructor({step:e,press:t,turn:o,close:n},r){let a=(s,l,p)=>k(s,()=>t(l),{"aria-label":p});this.before=k("←",()=>e(-1),{"aria-label":"Previous picture (←)"}),this.after=k("→",()=>e(1),{"aria-label":"Next picture (→)"}),this.percent=c("span",{class:"xai-quiet xai-percent"}),this.star=a("☆ Star","*","Star (*)"),this.turn=k("Before and after",o,{hidden:!0}),this.single=[this.before,this.after,...r.star?[this.star]:[],...r.save?[a("Save","s","Save (S)")]:[],...r.edit?[a("Edit this","e","Edit this (E)")]:[]],this.zooms=c("div",{class:"xai-row xai-tools"},a("−","-","Smaller (−)"),this.percent,a("+","+","Larger (+)"),a("Fit","0","Fit (0)"),a("1:1","1","Full size, one image pixel per screen pixel (1)")),this.acts=c("div",{class:"xai-row xai-tools"},this.turn,this.single.slice(2)),this.close=k("✕",n,{class:"xai-small xai-close","aria-label":"Close"})}show(e,t){for(let o of this.single)o.hidden=e;this.turn.hidden=!t,this.turn.textContent="Back to the picture"}update({id:e,starred:t,lineage:o}){this.turn.hidden=o.ancestors.length===0,this.turn.textContent="Before and after",this.star.disabled=e===null,this.star.textContent=t?"★ Starred":"☆ Star",this.star.setAttribute("aria-label",`${t?"Remove star":"Star"} (*)`)}}});var yi,D,ft=x(()=>{"use strict";ct();T();ut();xt();yi={ArrowLeft:-1,ArrowRight:1,PageUp:-1,PageDown:1},D=class{keys=[];shown;#e;#i=[];#t=[];#o=Promise.resolve();constructor(e){this.source=e;let t={step:d=>this.step(d),press:d=>this.press(d),turn:()=>this.turn(),close:()=>this.element.close()};this.tools=new N(t,e),this.stage=new q(d=>E(this.tools.percent,`${d} %`)),this.title=c("h2",{class:"xai-title",id:R("title")}),this.note=c("p",{class:"xai-hint",role:"status",hidden:!0}),this.about=c("div",{class:"xai-about"});let o={class:"xai-strip",role:"list","aria-label":"Sources and edits",hidden:!0};this.strip=c("ul",o);let{before:n,after:r,zooms:a,acts:s,close:l}=this.tools,p=c("div",{class:"xai-row xai-steps"},n,this.title,r),{element:g,slider:h}=this.stage,u=c("div",{class:"xai-look"},g,h,this.note,this.strip);this.element=c("dialog",{class:"xai-widget xai-viewer","aria-labelledby":this.title.id},c("div",{class:"xai-viewerhead"},p,a,s,l),c("div",{class:"xai-sheets"},u,this.about)),this.element.addEventListener("keydown",d=>this.#u(d)),this.element.addEventListener("close",()=>this.#d()),this.element.addEventListener("click",({target:d})=>{d===this.element&&this.element.close()})}async open(...e){this.keys=e,this.shown=void 0,this.#e=void 0,await this.#n(e)}async turn(){if(this.#e!==void 0)return this.open(this.#e);let e=this.shown?.lineage.ancestors.at(-1);if(e!==void 0)return[this.#e]=this.keys,this.keys=[e,this.#e],this.shown=void 0,this.#n(this.keys)}async#n(e){let t=e.length>1,{source:o}=this,n=t?"":o.position?.(e[0])??"";this.title.textContent=t?"Compare":`Picture ${n}`.trim(),this.tools.show(t,this.#e!==void 0),this.element.classList.toggle("xai-two",t),this.#r(e.map(r=>o.glance(r))),this.#a(t),E(this.note,"Loading the original …"),this.#o=this.#s(e),await this.#o}#a(e){let t=this.element.open;t||this.element.showModal();let o=document.activeElement,n=t&&this.element.contains(o)&&o?.getClientRects().length;e?this.stage.slider.focus():n||this.stage.element.focus()}async#s(e){try{let t=await Promise.all(e.map(o=>this.source.load(o)));if(this.keys===e)this.#l(t);else for(let{url:o}of t)URL.revokeObjectURL(o)}catch(t){let{message:o}=t,n=this.stage.images.some(r=>r.src);this.keys===e&&E(this.note,n?`This is a preview. ${o}`:o)}}#l(e){let t=this.#t;this.#t=e.map(({url:n})=>n);let o=e.map(({error:n})=>n).filter(Boolean);E(this.note,o.join(" ")),this.shown=e.length===1?e[0]:void 0,this.#r(e);for(let n of t)URL.revokeObjectURL(n)}#r(e){let t=this.#i===this.keys;this.#i=this.keys;let n=t?this.stage.images:e.map(()=>c("img",{alt:"",draggable:"false"}));for(let[a,s]of e.entries()){let l=n[a];!l||!s||(l.alt=s.alt??"",s.url&&(l.src=s.url))}let r=e[0]?.size;(!t||r?.length&&r[0]!==this.stage.picture.width)&&this.stage.show(n,r),this.#c(e)}#c(e){let{tag:t,thumbnail:o}=this.source,{shown:n}=this,r=n?.id??null,a=t&&r!==null?t.bind(null,r):void 0,s=u=>this.say(u),l=e.length>1?["Left","Right"]:[],p=e.map((u,d)=>{let U=l[d];return u?st(u,{say:s,side:U,tag:a}):[]});this.about.replaceChildren(...p.flat());let h=n&&o?lt(n,{show:u=>this.open(u),thumbnail:o}):[];this.strip.replaceChildren(...h),this.strip.hidden=h.length===0,n&&this.tools.update(n)}changed(e){let t=this.shown&&e.find(({id:n})=>n===this.shown?.id);if(!t||!this.shown)return;let o=this.about.contains(document.activeElement);this.shown={...this.shown,starred:t.starred,tags:t.tags},this.#c([this.shown]),o&&this.about.querySelector("input")?.focus()}say(e){this.element.open&&E(this.note,e)}#d(){this.keys=[],this.shown=this.#e=void 0,this.stage.show([]),this.about.replaceChildren(),this.strip.replaceChildren();for(let e of this.#t)URL.revokeObjectURL(e);this.#t=[],this.source.closed?.()}async step(e){if(this.keys.length!==1)return;let t=await this.source.next(this.keys[0],e);t!==void 0&&await this.open(t)}press(e){let t=yi[e];if(this.stage.key(e))return!0;if(t!==void 0)this.step(t);else if(e==="b")this.turn();else return this.#p(e);return!0}#p(e){let{source:t}=this,[o]=this.keys;if(this.keys.length!==1)return!1;if(e==="*"&&t.star)this.#h();else if(e==="s"&&t.save)t.save(o);else if(e==="e"&&t.edit)this.element.close(),t.edit(o);else return!1;return!0}async#h(){let{keys:e}=this;await this.#o;let{shown:t}=this;this.keys===e&&t&&t.id!==null&&this.source.star?.(t.id,!t.starred)}#u(e){e.key==="Escape"&&e.stopPropagation();let{target:t,key:o}=e;e.ctrlKey||e.metaKey||e.altKey||t.closest("input, pre")||this.press(o.length===1?o.toLowerCase():o)&&(e.preventDefault(),e.stopPropagation())}}});function wt(i){let e=i.querySelectorAll(mt);for(let t of e)!t.closest(".jp-OutputArea-output")?.querySelector(mt+kt)||t.closest(".xai-widget")||(t.classList.add(I),t.tabIndex=0,t.setAttribute("role","button"),t.setAttribute("aria-haspopup","dialog"))}function ne(i,e){for(let t of i)for(let o of t.querySelectorAll("strong, summary")){if(o.textContent?.trim().replace(/:$/,"")!==e)continue;let n=o.closest("summary")?.parentElement??o.parentElement;return(n?.querySelector(":scope > div bdi")??n?.querySelector("bdi"))?.textContent??""}return""}function zi({facts:i,size:[e=0]}){let[,t]=/(\d+) × \d+/.exec(i.join(" "))??[];return Number(t)>e}function St(i){let e=i.parentElement?.querySelector("figcaption"),o=i.closest(".jp-OutputArea-output")?.querySelector(":scope > div > div:first-child"),n=[e,o?.querySelector("img")?null:o].filter(l=>!!l),r=i.matches(kt),a=[...e?.children??[]].find(l=>l.matches("div")&&!l.querySelector("strong")),s=(r?a:e)?.textContent??"";return{id:null,url:i.src,alt:i.alt,size:[i.naturalWidth,i.naturalHeight],prompt:ne(n,"Prompt")||ne(n,"Prompt as written"),rewritten:ne(n,"Rewritten prompt"),facts:s.split(" · ").filter(l=>l&&!/^\[[\d:]+\]$/.test(l)),error:"",created:0,starred:!1,tags:[],inputs:[],cell:"",lineage:{ancestors:[],descendants:[]},media_type:""}}async function Ai(i){let[e]=[...i.classList].flatMap(h=>vi.exec(h)?.[1]??[]),o=Et?.find(({node:h})=>h.contains(i))?.sessionContext.session?.kernel;if(!e)return{url:"",missing:""};if(!o||(await o.info).language_info.name!=="python")return{url:"",missing:vt};let r={code:"",silent:!0,store_history:!1,user_expressions:{found:`get_ipython().magics_manager.registry["XaiImage"].original("${e}")`}},{content:a}=await o.requestExecute(r).done,l=a.status==="ok"?a.user_expressions?.found:void 0;if(!l?.data)return{url:"",missing:ki};let p=Object.keys(l.data).find(h=>h.startsWith("image/"));if(!p)return{url:"",missing:Si};let g=await(await fetch(`data:${p};base64,${l.data[p]}`)).blob();return{url:URL.createObjectURL(g),missing:""}}async function Ci(i){await i.decode().catch(()=>{});let e=St(i);if(!zi(e))return e;let{url:t,missing:o}=await Ai(i).catch(()=>({url:"",missing:vt}));if(!t)return{...e,error:`${gt} ${o}`.trim()};let n=new Image;n.src=t;try{await n.decode()}catch{return URL.revokeObjectURL(t),{...e,error:gt}}return{...e,url:t,size:[n.naturalWidth,n.naturalHeight]}}function bt(i){return[...(i.closest(".jp-OutputArea")??document).querySelectorAll(`.${I}`)]}function yt(i){let{target:e}=i;!(e instanceof HTMLImageElement)||!e.classList.contains(I)||(i.preventDefault(),i.stopPropagation(),zt.open(e))}function At(i,e){Et=e;let t=document.createElement("style");t.textContent=it+nt+Ei,document.head.append(t),document.body.append(zt.element),wt(document),new MutationObserver(n=>{for(let{addedNodes:r}of n)for(let a of r)a instanceof Element&&wt(a)}).observe(document.body,{childList:!0,subtree:!0}),document.addEventListener("click",n=>{!n.ctrlKey&&!n.metaKey&&!n.shiftKey&&!n.altKey&&yt(n)});let o=new Set(["Enter"," "]);window.addEventListener("keydown",n=>o.has(n.key)&&yt(n),!0)}var I,mt,vi,gt,vt,ki,Si,kt,Ei,Et,zt,Ct=x(()=>{"use strict";tt();ot();ft();I="xai-opens",mt='figure > img[src^="data:image/"]',vi=/^xai-sha256-([0-9a-f]{64})$/,gt="This is the preview in the notebook.",vt="To see the original, start a kernel and run %load_ext xai_notebook.",ki="To see the original, run %load_ext xai_notebook.",Si="The original is not in the library.",kt='[alt*=", generated from the prompt: "]',Ei=`.${I} { cursor: zoom-in; }
.${I}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;zt=new D({glance:St,load:Ci,next:(i,e)=>{let t=bt(i),o=t.indexOf(i);return o<0?void 0:t[o+e]},position:i=>{let e=bt(i);return e.length>1?`${e.indexOf(i)+1} of ${e.length}`:""}})});var $t={};ae($t,{default:()=>Mi});var Lt,Tt,It,Mt,re,Li,Ti,Ii,Mi,Ot=x(()=>{"use strict";Lt=f(pe(),1),Tt=f(H(),1),It=f(xe(),1),Mt=f(me(),1),re=f(W(),1);qe();et();Ct();Li={id:"xai-notebook:cells",description:"Shows a cell of %%xai_image as text.",autoStart:!0,requires:[Tt.IEditorExtensionRegistry],activate:(i,e)=>e.addExtension(Pe)},Ti={id:"xai-notebook:places",description:"Adds the panel and the library to launcher and command palette.",autoStart:!0,requires:[re.INotebookTracker],optional:[Lt.ICommandPalette,Mt.ILauncher,It.IDefaultFileBrowser],activate:(i,e,t,o,n)=>{Qe(i,e,()=>n?.model.path),j.forEach(({command:r},a)=>{t?.addItem({command:r,category:"xAI images",rank:a}),o?.add({command:r,category:"Other",rank:100+a})})}},Ii={id:"xai-notebook:pictures",description:"Opens the pictures of cells in a viewer.",autoStart:!0,requires:[re.INotebookTracker],activate:At},Mi=[Li,Ti,Ii]});m();var jt={};globalThis._JUPYTERLAB??={};globalThis._JUPYTERLAB["xai-notebook"]={init(i){jt=i},async get(){await B(jt);let{default:i}=await Promise.resolve().then(()=>(Ot(),$t));return()=>({__esModule:!0,default:i})}};})();
