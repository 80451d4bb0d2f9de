"use strict";(()=>{var jt=Object.create;var T=Object.defineProperty;var Ot=Object.getOwnPropertyDescriptor;var Pt=Object.getOwnPropertyNames;var qt=Object.getPrototypeOf,Rt=Object.prototype.hasOwnProperty;var x=(i,e,t)=>()=>{if(t)throw t[0];try{return i&&(e=i(i=0)),e}catch(o){throw t=[o],o}};var b=(i,e)=>()=>{try{return e||i((e={exports:{}}).exports,e),e.exports}catch(t){throw e=0,t}},ae=(i,e)=>{for(var t in e)T(i,t,{get:e[t],enumerable:!0})},re=(i,e,t,o)=>{if(e&&typeof e=="object"||typeof e=="function")for(let n of Pt(e))!Rt.call(i,n)&&n!==t&&T(i,n,{get:()=>e[n],enumerable:!(o=Ot(e,n))||o.enumerable});return i};var f=(i,e,t)=>(t=i!=null?jt(qt(i)):{},re(e||!i||!i.__esModule?T(t,"default",{value:i,enumerable:!0}):t,i)),y=i=>re(T({},"__esModule",{value:!0}),i);var w={};ae(w,{NAMES:()=>se,loadModules:()=>U,modules:()=>le});async function U(i){for(let e of se){let t=Object.values(i[e]??{}),o=t.find(({loaded:a})=>a)??t[0];if(o===void 0)throw new Error(`xai-notebook: this JupyterLab has no ${e}`);let n=await o.get();le[e]=n()}}var se,le,m=x(()=>{"use strict";se=["@codemirror/language","@codemirror/state","@codemirror/view","@jupyterlab/apputils","@jupyterlab/cells","@jupyterlab/codemirror","@jupyterlab/filebrowser","@jupyterlab/launcher","@jupyterlab/notebook","@jupyterlab/ui-components","@lezer/highlight","@lumino/coreutils"],le={}});var de=b((zi,ce)=>{ce.exports=(m(),y(w)).modules["@jupyterlab/apputils"]});var H=b((Ei,pe)=>{pe.exports=(m(),y(w)).modules["@jupyterlab/codemirror"]});var ue=b((Ai,he)=>{he.exports=(m(),y(w)).modules["@jupyterlab/filebrowser"]});var fe=b((Ci,xe)=>{xe.exports=(m(),y(w)).modules["@jupyterlab/launcher"]});var F=b((Li,me)=>{me.exports=(m(),y(w)).modules["@jupyterlab/notebook"]});var W=b((Mi,ge)=>{ge.exports=(m(),y(w)).modules["@codemirror/language"]});var be=b((Ii,we)=>{we.exports=(m(),y(w)).modules["@codemirror/state"]});var ve=b((Ti,ye)=>{ye.exports=(m(),y(w)).modules["@codemirror/view"]});var K=b(($i,ke)=>{ke.exports=(m(),y(w)).modules["@lezer/highlight"]});var ze,Se=x(()=>{ze={"-n":"","--count":"","-m":"","--model":"","-a":"","--aspect-ratio":"","-r":"","--resolution":"","-q":"","--quality":"","-i":"","--image":"","-u":"","--user":"","-f":"","--format":"","--as":"","-e":"","--export":"","--name":"","--no-metadata":null,"--share":"","--columns":"","--captions":"","--full":null,"--compare":null,"--matrix":"[\\w-]+=","--each":"","--key":"","--rewrite":"grok","--fresh":null,"--redo":"","--replay":null,"--reuse":null,"--max-cost":"","--dry-run":null,"--timeout":"","--batch":null,"--local":null,"-h":null,"--help":null}});function Ce(i){for(let e of i)if(e.trim())return Nt.test(e);return!1}function Ae(i,e){for(;!i.eol();){if(!e.depth&&i.match("}}")){e.depth=null;break}if(i.match(Wt))continue;let t=i.next()??"";"([{".includes(t)?e.depth=(e.depth??0)+1:")]}".includes(t)&&(e.depth=Math.max((e.depth??0)-1,0))}return"template"}function Kt(i,e){let t=e.value;if(e.value=null,i.match(/^--(?!\S)/))return e.region="text","option";let[o]=i.match(Ht,!1)??[];if(o!==void 0&&o in Ee){i.match(o);let r=!i.eol()&&!/\s/.test(i.peek()??"");return e.value=r?"":Ee[o],"option"}i.match(Ut)||i.next();let n=i.current();if(t!==null&&!Ft.test(n)&&n.search(t)===0)return"value";let a=n.indexOf("{{");return a>0&&i.backUp(n.length-a),null}var $,C,Ee,Nt,Dt,Bt,Ut,Ht,Ft,Wt,Gt,Le,G,V,Me=x(()=>{"use strict";$=f(W(),1),C=f(K(),1);Se();Ee=ze,Nt=/^\s*%%xai_image(?!\S)/,Dt=/^%%?xai_\w+(?!\S)/,Bt=String.raw`\$'(?:\\.|[^'\\])*'|"[^"]*"|'[^']*'`,Ut=new RegExp(String.raw`^(?:${Bt}|(?!\{\{)\S)+`),Ht=/^(?:--[A-Za-z][\w-]*(?==|\s|$)|-[A-Za-z](?!-))/,Ft=/^--?[A-Za-z]/,Wt=/^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")/;Gt={name:"xai-prompt",startState:()=>({region:"start",value:null,depth:null}),token(i,e){return e.region==="line"&&i.sol()&&(e.region="text"),e.depth!==null?Ae(i,e):e.region!=="text"&&i.eatSpace()?null:e.region==="start"&&(e.region="line",i.match(Dt))?"magic":i.match("{{")?(e.value=null,e.depth=0,Ae(i,e)):e.region==="line"?Kt(i,e):(i.skipTo("{{")||i.skipToEnd(),null)}},Le={magic:C.Tag.define(),option:C.Tag.define(),value:C.Tag.define(),template:C.Tag.define()},G=$.StreamLanguage.define({...Gt,tokenTable:Le}),V=$.HighlightStyle.define(Object.entries(Le).map(([i,e])=>({tag:e,class:`xai-${i}`})))});function Pe(i){return Vt.exec(i)?.[0].length}function Ie({state:i,visibleRanges:e}){let t=new v.RangeSetBuilder,o=(a,r,s)=>{a<r&&t.add(a,r,S.Decoration.mark({class:s}))},n=0;for(let a of e)for(n=Math.max(n,a.from);n<=a.to;){let r=i.doc.lineAt(n);n=r.to+1;let s=Pe(r.text);if(s===void 0)continue;let c=r.from+s,p=c,h=G.parser.parse(r.text.slice(s));(0,je.highlightTree)(h,V,(g,u,d)=>{o(p,c+g,Z),o(c+g,c+u,d),p=c+u}),o(p,r.to,Z)}return t.finish()}function Xt(i){let e=new v.Compartment,t=o=>Ce(o)?Jt:Yt;return[Zt,e.of(t(i.split(`
`))),v.EditorState.transactionExtender.of(o=>{if(!o.docChanged)return null;let n=t(o.newDoc.iterLines());return n===e.get(o.startState)?null:{effects:e.reconfigure(n)}})]}var Te,v,S,$e,je,Vt,Z,Oe,L,Zt,Jt,J,Yt,qe,Re=x(()=>{"use strict";Te=f(W(),1),v=f(be(),1),S=f(ve(),1),$e=f(H(),1),je=f(K(),1);Me();Vt=/^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/,Z="xai-text",Oe={closeBrackets:{brackets:[]}},L={fontStyle:"normal",fontWeight:"normal"},Zt=S.EditorView.baseTheme({[`.${Z}`]:{...L,color:"var(--jp-content-font-color1)"},".xai-magic":{...L,color:"var(--jp-mirror-editor-operator-color)"},".xai-option":{...L,color:"var(--jp-mirror-editor-property-color)"},".xai-value":{...L,color:"var(--jp-mirror-editor-keyword-color)"},".xai-template":{...L,color:"var(--jp-mirror-editor-string-color)",backgroundColor:"color-mix(in srgb, currentcolor 8%, transparent)",borderRadius:"3px"},".cm-searching span":{color:"inherit"},"&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket":{color:"inherit !important",backgroundColor:"transparent !important"}}),Jt=[v.Prec.highest([G,v.EditorState.languageData.of(()=>[Oe])]),(0,Te.syntaxHighlighting)(V),S.EditorView.lineWrapping,S.EditorView.editorAttributes.of({class:"xai-prompt"})];J=class{constructor(e){this.marks=Ie(e)}update({docChanged:e,viewportChanged:t,view:o}){(e||t)&&(this.marks=Ie(o))}},Yt=v.Prec.highest([S.ViewPlugin.fromClass(J,{decorations:({marks:i})=>i}),v.EditorState.languageData.of((i,e)=>Pe(i.doc.lineAt(e).text)===void 0?[]:[Oe])]);qe={name:"xai-notebook:prompt",factory:({model:i})=>!("type"in i)||i.type!=="code"?null:$e.EditorExtensionRegistry.createImmutableExtension(Xt(i.sharedModel.getSource()))}});var Ne=b((_i,_e)=>{_e.exports=(m(),y(w)).modules["@jupyterlab/cells"]});var Be=b((Ni,De)=>{De.exports=(m(),y(w)).modules["@jupyterlab/ui-components"]});var Ue,He,Qt,Fe,We,Ke=x(()=>{"use strict";Ue=f(Be(),1),He=(i,e)=>new Ue.LabIcon({name:`xai-notebook:${i}`,svgstr:`<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">${e}</g></svg>`}),Qt="M18.5 1l1.1 2.9 2.9 1.1-2.9 1.1-1.1 2.9-1.1-2.9-2.9-1.1 2.9-1.1z",Fe=He("panel",`<path d="${Qt}"/><path d="M13 4H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-8h-2v8H4V6h9z"/><path d="M5.5 17.5h11l-3.6-4.8-2.6 3.3-1.9-2.2z"/>`),We=He("library",'<path d="M4 2h16v2H4zM3 5.5h18v2H3z"/><path d="M20 9H4a2 2 0 0 0-2 2v9a2 2 0 0 0 2 2h16a2 2 0 0 0 2-2v-9a2 2 0 0 0-2-2zm0 11H4v-9h16z"/><path d="M6 18.5h12l-4-5.2-2.9 3.6-2-2.3z"/>')});var Ve=b((Bi,Ge)=>{Ge.exports=(m(),y(w)).modules["@lumino/coreutils"]});var Y,ei,ti,ii,j,Ze=x(()=>{"use strict";Y=f(Ve(),1),ei="xai-notebook:permits",ti=6e4,ii=1e4,j=class{#e=new Map;constructor(){this.channel=new BroadcastChannel(ei),this.channel.addEventListener("message",({data:e})=>this.#o(e))}give(e){let t=Y.UUID.uuid4();return this.#e.set(e,{id:t,made:Date.now()}),t}async take(e,t=ii){return this.#i(e)??await this.#t(e,t)}#i(e){let t=this.#e.get(e);return this.#e.delete(e),t&&Date.now()-t.made<ti?t.id:void 0}#t(e,t){let o=Y.UUID.uuid4();return new Promise(n=>{let a=c=>{clearTimeout(r),this.channel.removeEventListener("message",s),n(c)},r=setTimeout(a,t,void 0),s=({data:c})=>{c?.tells===o&&a(typeof c.id=="string"?c.id:void 0)};this.channel.addEventListener("message",s),this.channel.postMessage({asks:o,path:e})})}#o(e){if(typeof e?.asks!="string"||typeof e.path!="string")return;let t=this.#i(e.path);t!==void 0&&this.channel.postMessage({tells:e.asks,id:t})}}});async function ni({content:i},e,t){if(e.status!=="idle")return i.widgets.some(({model:s})=>s.sharedModel.getSource().includes(P));let n={code:"",silent:!0,store_history:!1,user_expressions:{loaded:`'${t}' in get_ipython().magics_manager.magics['line']`}},{content:a}=await e.requestExecute(n).done;return(a.status==="ok"?JSON.stringify(a.user_expressions):"").includes('"text/plain":"True"')}async function ai(i,e){let{content:t,sessionContext:o}=i,n=o.session?.kernel,a=n&&await ni(i,n,e)?"":`${P}
`,r=t.activeCell?.model;(r?.type!=="code"||r.sharedModel.getSource().trim())&&Q.NotebookActions.insertBelow(t),t.deselectAll(),t.activeCell?.model.sharedModel.setSource(`${a}%${e}`),await Q.NotebookActions.run(t,o)}async function Je(i){let{content:e,context:t,sessionContext:o}=i;if(await t.ready,!i.isAttached)return;let n=await Ye.take(t.path);if(n===void 0)return;await o.ready,await o.session?.kernel?.info;let[a,...r]=e.widgets;if(!i.isAttached||r.length||!(a instanceof X.CodeCell))return;await a.ready;let{sharedModel:s}=a.model;s.getId()!==n||!oi.has(s.getSource())||await X.CodeCell.execute(a,o)}async function ri(i,e,t){let{contents:o,kernelspecs:n}=i.serviceManager;await n.ready;let a=Object.values(n.specs?.kernelspecs??{}),r=n.specs?.default,s=a.filter(d=>d?.language==="python"),c=s.find(d=>d?.name===r)??s[0],{path:p}=await o.newUntitled({path:t,type:"notebook"}),g={id:Ye.give(p),cell_type:"code",execution_count:null,metadata:{},outputs:[]},u=c?{kernelspec:{name:c.name,display_name:c.display_name,language:"python"}}:{};await o.save(p,{type:"notebook",format:"json",content:{cells:[{...g,source:`${P}
%${e}`}],metadata:u,nbformat:4,nbformat_minor:5}}),await i.commands.execute("docmanager:open",{path:p,factory:"Notebook"})}function Xe(i,e,t){for(let{command:o,magic:n,...a}of O)i.commands.addCommand(o,{...a,execute:async({cwd:r})=>{let s=e.currentWidget;s&&s===i.shell.currentWidget?await ai(s,n):await ri(i,n,String(r??t()??""))}});e.forEach(Je),e.widgetAdded.connect((o,n)=>{Je(n)})}var X,Q,O,P,oi,Ye,Qe=x(()=>{"use strict";X=f(Ne(),1),Q=f(F(),1);Ke();Ze();O=[{command:"xai-notebook:panel",magic:"xai_panel",label:"xAI image panel",caption:"Make images with a form, in this notebook or in a new one",icon:Fe},{command:"xai-notebook:library",magic:"xai_library",label:"xAI image library",caption:"Search and organize all your images, in this notebook or in a new one",icon:We}],P="%load_ext xai_notebook",oi=new Set(O.map(({magic:i})=>`${P}
%${i}`)),Ye=new j});var tt,et=x(()=>{tt=`/* Colours come from the notebook's theme, with light defaults for pages without one. */

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
`});var ot,it=x(()=>{ot=`/* The viewer: one picture in full, or two under a slider. */

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
`});function l(i,e={},...t){let o=document.createElement(i);for(let[n,a]of Object.entries(e))n.startsWith("on")?o.addEventListener(n.slice(2),a):a===!0?o.setAttribute(n,""):a!==!1&&a!=null&&o.setAttribute(n,String(a));ci.has(i)&&o.setAttribute("data-lm-suppress-shortcuts","true");for(let n of t.flat())n!=null&&n!==""&&o.append(n);return o}function k(i,e,t={}){let{class:o="xai-small",...n}=t;return l("button",{type:"button",class:`xai-button ${o}`,onclick:e,...n},i)}function ee(i,e,t={}){return l("button",{type:"button",class:"xai-link",onclick:e,...t},i)}function z(i,e){i.textContent!==e&&(i.textContent=e),i.hidden=e===""}function q(i){return nt+=1,`xai-${di}-${i}-${nt}`}function at(i,e,t,o={}){let n=k(i,async()=>{let a=await pi(e());n.textContent=a?"Copied":"Not copied",t(a?"Cell copied to the clipboard.":"Select the cell and copy it."),setTimeout(()=>{n.textContent=i},2e3)},o);return n}async function pi(i){try{return await navigator.clipboard.writeText(i),!0}catch{let e=l("textarea",{class:"xai-unseen","aria-hidden":"true"});e.value=i,(document.querySelector("dialog[open]")??document.body).append(e),e.select();let t=document.execCommand("copy");return e.remove(),t}}var ci,di,nt,M=x(()=>{"use strict";ci=new Set(["button","input","pre","select","summary","textarea"]);di=Math.random().toString(36).slice(2,8),nt=0});function rt(i,{say:e,side:t,tag:o}){let{prompt:n,rewritten:a,facts:r=[],created:s,inputs:c=[],tags:p=[],cell:h,lineage:g}=i,u=s?[new Date(s*1e3).toLocaleString(void 0,ui)]:[],d=a?[E("Rewritten prompt",te(a)),E("Prompt as written",te(n))]:[E("Prompt",te(n))],B={class:"xai-factlist",role:"list","aria-label":"Facts"};return d.push(l("ul",B,[...r,...u].map($t=>l("li",{},$t)))),t?[l("h3",{class:"xai-side"},t),...d]:(c.length&&!g?.ancestors.length&&d.push(E("Made from",l("p",{},c.join(", ")))),o&&d.push(fi(p,o)),h&&d.push(E(hi,xi(h),at("Copy the cell",()=>h,e))),d)}function fi(i,e){let t=()=>{let a=o.value.trim();a&&e(a,!0),o.value=""},o=l("input",{type:"text",id:q("tag"),"aria-label":"Add a tag",placeholder:"Add a tag",maxlength:60,size:10,onkeydown:a=>a.key==="Enter"&&t()}),n=i.map(a=>l("span",{class:"xai-chip"},a," ",ee("×",()=>e(a,!1),{"aria-label":`Remove the tag ${a}`})));return E("Tags",l("div",{class:"xai-row xai-tags"},n,o,k("Add",t)))}function st({id:i,lineage:{ancestors:e,descendants:t}},{show:o,thumbnail:n}){let a=[...e,...i===null?[]:[i],...t];return a.length<2?[]:a.map((r,s)=>{let c=r===i?"This picture":s<e.length?"Source":"Edit of this picture",p=l("img",{alt:"",hidden:!0});n(r).then(d=>{p.src=d,p.hidden=!d});let h={class:"xai-link xai-kin","aria-label":`${c}, ${s+1} of ${a.length}`,"aria-current":r===i?"true":null},g=l("span",{class:"xai-quiet"},r===i?"This picture":c),u=ee("",()=>o(r),h);return u.append(p,g),l("li",{},u)})}var hi,ui,E,te,xi,lt=x(()=>{"use strict";M();hi="The cell that made it",ui={dateStyle:"medium",timeStyle:"short"},E=(i,...e)=>l("section",{},l("h3",{class:"xai-title xai-quiet"},i),e),te=i=>l("p",{class:"xai-prompt",dir:"auto"},i||"No prompt"),xi=i=>l("pre",{class:"xai-cell",tabindex:0,role:"group","aria-label":"The cell that made it"},l("code",{},i))});function ct({width:i,height:e},t){let o=Math.min(1,t.width/i,t.height/e);return{width:i*o,height:e*o}}function dt(i,e,t,o,n={x:0,y:0}){let a=Math.max(1,Math.min(16,e)),r=a/i.zoom,s=n.x-(n.x-i.x)*r,c=n.y-(n.y-i.y)*r;return oe({zoom:a,x:s,y:c},t,o)}function oe({zoom:i,x:e,y:t},o,n){let a=Math.max(0,(o.width*i-n.width)/2),r=Math.max(0,(o.height*i-n.height)/2);return{zoom:i,x:A(e,-a,a),y:A(t,-r,r)}}function A(i,e,t){return Math.max(e,Math.min(t,i))+0}var ie,pt=x(()=>{"use strict";ie={zoom:1,x:0,y:0}});var R,mi,_,ht=x(()=>{"use strict";pt();M();R=60,mi={ArrowLeft:[R,0],ArrowRight:[-R,0],ArrowUp:[0,R],ArrowDown:[0,-R]},_=class{look=ie;images=[];picture={width:1,height:1};#e=new Map;constructor(e){this.changed=e,this.handle=l("span",{class:"xai-handle",hidden:!0,"aria-hidden":"true"}),this.plane=l("div",{class:"xai-plane"},this.handle),this.slider=l("input",{type:"range",class:"xai-slider",min:0,max:100,step:"any",value:50,"aria-label":"Visible part of the first picture",oninput:()=>this.#t(),onkeydown:t=>this.#o(t)}),this.element=l("div",{class:"xai-view",tabindex:0,role:"group","data-lm-suppress-shortcuts":"true","aria-label":"Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",ondblclick:t=>this.#i(t),onpointerdown:t=>this.#s(t),onpointermove:t=>this.#l(t),onpointerup:t=>this.#e.delete(t.pointerId),onpointercancel:t=>this.#e.delete(t.pointerId)},this.plane),this.element.addEventListener("wheel",t=>this.#r(t),{passive:!1}),this.watch=new ResizeObserver(()=>this.draw()),this.watch.observe(this.element)}show(e,t=[]){this.images=e;let[o,n]=e,[a=0,r=0]=t;this.picture={width:a||1,height:r||1};let s=()=>{this.images[0]!==o||a||!o?.naturalWidth||(this.picture={width:o.naturalWidth,height:o.naturalHeight},this.draw())};o?.addEventListener("load",s),this.plane.replaceChildren(...e,this.handle),this.handle.hidden=this.slider.hidden=!n,this.slider.value="50",n&&this.#t(),s(),this.fit()}get frame(){return{width:this.element.clientWidth,height:this.element.clientHeight}}get drawn(){return ct(this.picture,this.frame)}fit(){this.look=ie,this.draw()}fullSize(e={x:0,y:0}){let t=this.picture.width/devicePixelRatio/this.drawn.width;this.zoom(t/this.look.zoom,e)}zoom(e,t={x:0,y:0}){this.look=dt(this.look,this.look.zoom*e,this.drawn,this.frame,t),this.draw()}pan(e,t){let o={...this.look,x:this.look.x+e,y:this.look.y+t};this.look=oe(o,this.drawn,this.frame),this.draw()}draw(){let{width:e,height:t}=this.drawn,{zoom:o,x:n,y:a}=this.look;this.plane.style.cssText=`width: ${e}px; height: ${t}px; transform: translate(${n}px, ${a}px) scale(${o}); --xai-zoom: ${o}`,this.element.classList.toggle("xai-zoomed",o>1);let r=this.drawn.width*o*devicePixelRatio;this.changed(Math.round(r/this.picture.width*100))}#i(e){this.look.zoom>1?this.fit():this.fullSize(this.#n(e))}#t(){let[,e]=this.images;e&&(e.style.clipPath=`inset(0 0 0 ${this.slider.value}%)`),this.handle.style.left=`${this.slider.value}%`}#o(e){let o={ArrowLeft:-1,ArrowDown:-1,ArrowRight:1,ArrowUp:1,PageDown:-10,PageUp:10}[e.key];o!==void 0&&(e.preventDefault(),e.stopPropagation(),this.slider.value=String(A(Number(this.slider.value)+o,0,100)),this.#t())}#n({clientX:e,clientY:t}){let{left:o,top:n,width:a,height:r}=this.element.getBoundingClientRect();return{x:e-o-a/2,y:t-n-r/2}}#r(e){e.preventDefault(),this.zoom(1.0015**-A(e.deltaY*(e.deltaMode?30:1),-240,240),this.#n(e))}#s(e){e.button===0&&(this.#e.set(e.pointerId,this.#n(e)),this.element.setPointerCapture(e.pointerId),this.sliding=e.target===this.handle||this.images.length>1&&this.look.zoom===1,this.sliding&&this.#a(e))}#l(e){let t=this.#e.get(e.pointerId);if(!t)return;let[o]=[...this.#e].filter(([a])=>a!==e.pointerId).map(([,a])=>a),n=this.#n(e);if(this.#e.set(e.pointerId,n),o){let a=({x:r,y:s})=>Math.hypot(r-o.x,s-o.y);this.zoom(a(n)/(a(t)||1),o)}else this.sliding?this.#a(e):this.pan(n.x-t.x,n.y-t.y)}#a({clientX:e}){let{left:t,width:o}=this.plane.getBoundingClientRect();this.slider.value=String(A((e-t)/o*100,0,100)),this.#t()}key(e){let t=mi[e];if(e==="+"||e==="=")this.zoom(1.5);else if(e==="-")this.zoom(1/1.5);else if(e==="0")this.fit();else if(e==="1")this.fullSize();else if(t&&this.look.zoom>1)this.pan(...t);else return!1;return!0}}});var N,ut=x(()=>{"use strict";M();N=class{constructor({step:e,press:t,turn:o,close:n},a){let r=(s,c,p)=>k(s,()=>t(c),{"aria-label":p});this.before=k("←",()=>e(-1),{"aria-label":"Previous picture (←)"}),this.after=k("→",()=>e(1),{"aria-label":"Next picture (→)"}),this.percent=l("span",{class:"xai-quiet xai-percent"}),this.star=r("☆ Star","*","Star (*)"),this.turn=k("Before and after",o,{hidden:!0}),this.single=[this.before,this.after,...a.star?[this.star]:[],...a.save?[r("Save","s","Save (S)")]:[],...a.edit?[r("Edit this","e","Edit this (E)")]:[]],this.zooms=l("div",{class:"xai-row xai-tools"},r("−","-","Smaller (−)"),this.percent,r("+","+","Larger (+)"),r("Fit","0","Fit (0)"),r("1:1","1","Full size, one image pixel per screen pixel (1)")),this.acts=l("div",{class:"xai-row xai-tools"},this.turn,this.single.slice(2)),this.close=k("✕",n,{class:"xai-small xai-close","aria-label":"Close"})}show(e,t){for(let o of this.single)o.hidden=e;this.turn.hidden=!t,this.turn.textContent="Back to the picture"}update({id:e,starred:t,lineage:o}){this.turn.hidden=o.ancestors.length===0,this.turn.textContent="Before and after",this.star.disabled=e===null,this.star.textContent=t?"★ Starred":"☆ Star",this.star.setAttribute("aria-label",`${t?"Remove star":"Star"} (*)`)}}});var gi,D,xt=x(()=>{"use strict";lt();M();ht();ut();gi={ArrowLeft:-1,ArrowRight:1,PageUp:-1,PageDown:1},D=class{keys=[];shown;#e;#i=[];#t=[];#o=Promise.resolve();constructor(e){this.source=e;let t={step:d=>this.step(d),press:d=>this.press(d),turn:()=>this.turn(),close:()=>this.element.close()};this.tools=new N(t,e),this.stage=new _(d=>z(this.tools.percent,`${d} %`)),this.title=l("h2",{class:"xai-title",id:q("title")}),this.note=l("p",{class:"xai-hint",role:"status",hidden:!0}),this.about=l("div",{class:"xai-about"});let o={class:"xai-strip",role:"list","aria-label":"Sources and edits",hidden:!0};this.strip=l("ul",o);let{before:n,after:a,zooms:r,acts:s,close:c}=this.tools,p=l("div",{class:"xai-row xai-steps"},n,this.title,a),{element:h,slider:g}=this.stage,u=l("div",{class:"xai-look"},h,g,this.note,this.strip);this.element=l("dialog",{class:"xai-widget xai-viewer","aria-labelledby":this.title.id},l("div",{class:"xai-viewerhead"},p,r,s,c),l("div",{class:"xai-sheets"},u,this.about)),this.element.addEventListener("keydown",d=>this.#u(d)),this.element.addEventListener("close",()=>this.#d()),this.element.addEventListener("click",({target:d})=>{d===this.element&&this.element.close()})}async open(...e){this.keys=e,this.shown=void 0,this.#e=void 0,await this.#n(e)}async turn(){if(this.#e!==void 0)return this.open(this.#e);let e=this.shown?.lineage.ancestors.at(-1);if(e!==void 0)return[this.#e]=this.keys,this.keys=[e,this.#e],this.shown=void 0,this.#n(this.keys)}async#n(e){let t=e.length>1,{source:o}=this,n=t?"":o.position?.(e[0])??"";this.title.textContent=t?"Compare":`Picture ${n}`.trim(),this.tools.show(t,this.#e!==void 0),this.element.classList.toggle("xai-two",t),this.#a(e.map(a=>o.glance(a))),this.#r(t),z(this.note,"Loading the original …"),this.#o=this.#s(e),await this.#o}#r(e){let t=this.element.open;t||this.element.showModal();let o=document.activeElement,n=t&&this.element.contains(o)&&o?.getClientRects().length;e?this.stage.slider.focus():n||this.stage.element.focus()}async#s(e){try{let t=await Promise.all(e.map(o=>this.source.load(o)));if(this.keys===e)this.#l(t);else for(let{url:o}of t)URL.revokeObjectURL(o)}catch(t){let{message:o}=t,n=this.stage.images.some(a=>a.src);this.keys===e&&z(this.note,n?`This is a preview. ${o}`:o)}}#l(e){let t=this.#t;this.#t=e.map(({url:n})=>n);let o=e.map(({error:n})=>n).filter(Boolean);z(this.note,o.join(" ")),this.shown=e.length===1?e[0]:void 0,this.#a(e);for(let n of t)URL.revokeObjectURL(n)}#a(e){let t=this.#i===this.keys;this.#i=this.keys;let n=t?this.stage.images:e.map(()=>l("img",{alt:"",draggable:"false"}));for(let[r,s]of e.entries()){let c=n[r];!c||!s||(c.alt=s.alt??"",s.url&&(c.src=s.url))}let a=e[0]?.size;(!t||a?.length&&a[0]!==this.stage.picture.width)&&this.stage.show(n,a),this.#c(e)}#c(e){let{tag:t,thumbnail:o}=this.source,{shown:n}=this,a=n?.id??null,r=t&&a!==null?t.bind(null,a):void 0,s=u=>this.say(u),c=e.length>1?["Left","Right"]:[],p=e.map((u,d)=>{let B=c[d];return u?rt(u,{say:s,side:B,tag:r}):[]});this.about.replaceChildren(...p.flat());let g=n&&o?st(n,{show:u=>this.open(u),thumbnail:o}):[];this.strip.replaceChildren(...g),this.strip.hidden=g.length===0,n&&this.tools.update(n)}changed(e){let t=this.shown&&e.find(({id:n})=>n===this.shown?.id);if(!t||!this.shown)return;let o=this.about.contains(document.activeElement);this.shown={...this.shown,starred:t.starred,tags:t.tags},this.#c([this.shown]),o&&this.about.querySelector("input")?.focus()}say(e){this.element.open&&z(this.note,e)}#d(){this.keys=[],this.shown=this.#e=void 0,this.stage.show([]),this.about.replaceChildren(),this.strip.replaceChildren();for(let e of this.#t)URL.revokeObjectURL(e);this.#t=[],this.source.closed?.()}async step(e){if(this.keys.length!==1)return;let t=await this.source.next(this.keys[0],e);t!==void 0&&await this.open(t)}press(e){let t=gi[e];if(this.stage.key(e))return!0;if(t!==void 0)this.step(t);else if(e==="b")this.turn();else return this.#p(e);return!0}#p(e){let{source:t}=this,[o]=this.keys;if(this.keys.length!==1)return!1;if(e==="*"&&t.star)this.#h();else if(e==="s"&&t.save)t.save(o);else if(e==="e"&&t.edit)this.element.close(),t.edit(o);else return!1;return!0}async#h(){let{keys:e}=this;await this.#o;let{shown:t}=this;this.keys===e&&t&&t.id!==null&&this.source.star?.(t.id,!t.starred)}#u(e){e.key==="Escape"&&e.stopPropagation();let{target:t,key:o}=e;e.ctrlKey||e.metaKey||e.altKey||t.closest("input, pre")||this.press(o.length===1?o.toLowerCase():o)&&(e.preventDefault(),e.stopPropagation())}}});function mt(i){let e=i.querySelectorAll(ft);for(let t of e)!t.closest(".jp-OutputArea-output")?.querySelector(ft+yt)||t.closest(".xai-widget")||(t.classList.add(I),t.tabIndex=0,t.setAttribute("role","button"),t.setAttribute("aria-haspopup","dialog"))}function ne(i,e){for(let t of i)for(let o of t.querySelectorAll("strong, summary")){if(o.textContent?.trim().replace(/:$/,"")!==e)continue;let n=o.closest("summary")?.parentElement??o.parentElement;return(n?.querySelector(":scope > div bdi")??n?.querySelector("bdi"))?.textContent??""}return""}function gt(i){let e=i.parentElement?.querySelector("figcaption"),o=i.closest(".jp-OutputArea-output")?.querySelector(":scope > div > div:first-child"),n=[e,o?.querySelector("img")?null:o].filter(h=>!!h),a=i.matches(yt),r=[...e?.children??[]].find(h=>h.matches("div")&&!h.querySelector("strong")),s=(a?r:e)?.textContent??"",c=[i.naturalWidth,i.naturalHeight],[,p]=/(\d+) × \d+/.exec(s)??[];return{id:null,url:i.src,alt:i.alt,size:c,prompt:ne(n,"Prompt")||ne(n,"Prompt as written"),rewritten:ne(n,"Rewritten prompt"),facts:s.split(" · ").filter(h=>h&&!/^\[[\d:]+\]$/.test(h)),error:Number(p)>c[0]?"This is the preview in the notebook.":"",created:0,starred:!1,tags:[],inputs:[],cell:"",lineage:{ancestors:[],descendants:[]},media_type:""}}function wt(i){return[...(i.closest(".jp-OutputArea")??document).querySelectorAll(`.${I}`)]}function bt(i){let{target:e}=i;!(e instanceof HTMLImageElement)||!e.classList.contains(I)||(i.preventDefault(),i.stopPropagation(),vt.open(e))}function kt(){let i=document.createElement("style");i.textContent=tt+ot+wi,document.head.append(i),document.body.append(vt.element),mt(document),new MutationObserver(t=>{for(let{addedNodes:o}of t)for(let n of o)n instanceof Element&&mt(n)}).observe(document.body,{childList:!0,subtree:!0}),document.addEventListener("click",t=>{!t.ctrlKey&&!t.metaKey&&!t.shiftKey&&!t.altKey&&bt(t)});let e=new Set(["Enter"," "]);window.addEventListener("keydown",t=>e.has(t.key)&&bt(t),!0)}var I,ft,yt,wi,vt,St=x(()=>{"use strict";et();it();xt();I="xai-opens",ft='figure > img[src^="data:image/"]',yt='[alt*=", generated from the prompt: "]',wi=`.${I} { cursor: zoom-in; }
.${I}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;vt=new D({glance:gt,load:async i=>(await i.decode().catch(()=>{}),gt(i)),next:(i,e)=>{let t=wt(i),o=t.indexOf(i);return o<0?void 0:t[o+e]},position:i=>{let e=wt(i);return e.length>1?`${e.indexOf(i)+1} of ${e.length}`:""}})});var Mt={};ae(Mt,{default:()=>ki});var zt,Et,At,Ct,Lt,bi,yi,vi,ki,It=x(()=>{"use strict";zt=f(de(),1),Et=f(H(),1),At=f(ue(),1),Ct=f(fe(),1),Lt=f(F(),1);Re();Qe();St();bi={id:"xai-notebook:cells",description:"Shows a cell of %%xai_image as text.",autoStart:!0,requires:[Et.IEditorExtensionRegistry],activate:(i,e)=>e.addExtension(qe)},yi={id:"xai-notebook:places",description:"Adds the panel and the library to launcher and command palette.",autoStart:!0,requires:[Lt.INotebookTracker],optional:[zt.ICommandPalette,Ct.ILauncher,At.IDefaultFileBrowser],activate:(i,e,t,o,n)=>{Xe(i,e,()=>n?.model.path),O.forEach(({command:a},r)=>{t?.addItem({command:a,category:"xAI images",rank:r}),o?.add({command:a,category:"Other",rank:100+r})})}},vi={id:"xai-notebook:pictures",description:"Opens the pictures of cells in a viewer.",autoStart:!0,activate:kt},ki=[bi,yi,vi]});m();var Tt={};globalThis._JUPYTERLAB??={};globalThis._JUPYTERLAB["xai-notebook"]={init(i){Tt=i},async get(){await U(Tt);let{default:i}=await Promise.resolve().then(()=>(It(),Mt));return()=>({__esModule:!0,default:i})}};})();
