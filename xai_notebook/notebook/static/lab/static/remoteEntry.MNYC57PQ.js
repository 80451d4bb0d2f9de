"use strict";(()=>{var Nt=Object.create;var M=Object.defineProperty;var Dt=Object.getOwnPropertyDescriptor;var Ut=Object.getOwnPropertyNames;var Bt=Object.getPrototypeOf,Ht=Object.prototype.hasOwnProperty;var x=(i,e,t)=>()=>{if(t)throw t[0];try{return i&&(e=i(i=0)),e}catch(o){throw t=[o],o}};var b=(i,e)=>()=>{try{return e||i((e={exports:{}}).exports,e),e.exports}catch(t){throw e=0,t}},le=(i,e)=>{for(var t in e)M(i,t,{get:e[t],enumerable:!0})},ce=(i,e,t,o)=>{if(e&&typeof e=="object"||typeof e=="function")for(let n of Ut(e))!Ht.call(i,n)&&n!==t&&M(i,n,{get:()=>e[n],enumerable:!(o=Dt(e,n))||o.enumerable});return i};var f=(i,e,t)=>(t=i!=null?Nt(Bt(i)):{},ce(e||!i||!i.__esModule?M(t,"default",{value:i,enumerable:!0}):t,i)),y=i=>ce(M({},"__esModule",{value:!0}),i);var w={};le(w,{NAMES:()=>de,loadModules:()=>H,modules:()=>pe});async function H(i){for(let e of de){let t=Object.values(i[e]??{}),o=t.find(({loaded:a})=>a)??t[0];if(o===void 0)throw new Error(`xai-notebook: this JupyterLab has no ${e}`);let n=await o.get();pe[e]=n()}}var de,pe,g=x(()=>{"use strict";de=["@codemirror/language","@codemirror/state","@codemirror/view","@jupyterlab/apputils","@jupyterlab/cells","@jupyterlab/codemirror","@jupyterlab/filebrowser","@jupyterlab/launcher","@jupyterlab/notebook","@jupyterlab/ui-components","@lezer/highlight","@lumino/coreutils"],pe={}});var ue=b((_i,he)=>{he.exports=(g(),y(w)).modules["@jupyterlab/apputils"]});var F=b((Ri,xe)=>{xe.exports=(g(),y(w)).modules["@jupyterlab/codemirror"]});var me=b((Pi,fe)=>{fe.exports=(g(),y(w)).modules["@jupyterlab/filebrowser"]});var we=b((qi,ge)=>{ge.exports=(g(),y(w)).modules["@jupyterlab/launcher"]});var W=b((Ni,be)=>{be.exports=(g(),y(w)).modules["@jupyterlab/notebook"]});var K=b((Di,ye)=>{ye.exports=(g(),y(w)).modules["@codemirror/language"]});var ke=b((Ui,ve)=>{ve.exports=(g(),y(w)).modules["@codemirror/state"]});var Ee=b((Bi,Se)=>{Se.exports=(g(),y(w)).modules["@codemirror/view"]});var G=b((Hi,ze)=>{ze.exports=(g(),y(w)).modules["@lezer/highlight"]});var Le,Ce=x(()=>{Le={"-n":"","--count":"","-m":"","--model":"","-a":"","--aspect-ratio":"","-r":"","--resolution":"","-q":"","--quality":"","-i":"","--image":"","-u":"","--user":"","-f":"","--format":"","--as":"","-e":"","--export":"","--name":"","--no-metadata":null,"--share":"","--columns":"","--captions":"","--full":null,"--compare":null,"--matrix":"[\\w-]+=","--each":"","--key":"","--rewrite":"grok","--fresh":null,"--redo":"","--replay":null,"--reuse":null,"--max-cost":"","--dry-run":null,"--timeout":"","--batch":null,"--local":null,"-h":null,"--help":null}});function Ie(i){for(let e of i)if(e.trim())return Wt.test(e);return!1}function $e(i,e){for(;!i.eol();){if(!e.depth&&i.match("}}")){e.depth=null;break}if(i.match(Xt))continue;let t=i.next()??"";"([{".includes(t)?e.depth=(e.depth??0)+1:")]}".includes(t)&&(e.depth=Math.max((e.depth??0)-1,0))}return"template"}function Yt(i,e){let t=e.value;if(e.value=null,i.match(/^--(?!\S)/))return e.region="text","option";let[o]=i.match(Jt,!1)??[];if(o!==void 0&&o in Ae){i.match(o);let r=!i.eol()&&!/\s/.test(i.peek()??"");return e.value=r?"":Ae[o],"option"}i.match(Vt)||i.next();let n=i.current();if(t!==null&&!Zt.test(n)&&n.search(t)===0)return"value";let a=n.indexOf("{{");return a>0&&i.backUp(n.length-a),null}var j,A,Ae,Wt,Kt,Gt,Vt,Jt,Zt,Xt,Qt,Te,V,J,Me=x(()=>{"use strict";j=f(K(),1),A=f(G(),1);Ce();Ae=Le,Wt=/^\s*%%xai_image(?!\S)/,Kt=/^%%?xai_\w+(?!\S)/,Gt=String.raw`\$'(?:\\.|[^'\\])*'|"[^"]*"|'[^']*'`,Vt=new RegExp(String.raw`^(?:${Gt}|(?!\{\{)\S)+`),Jt=/^(?:--[A-Za-z][\w-]*(?==|\s|$)|-[A-Za-z](?!-))/,Zt=/^--?[A-Za-z]/,Xt=/^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")/;Qt={name:"xai-prompt",startState:()=>({region:"start",value:null,depth:null}),token(i,e){return e.region==="line"&&i.sol()&&(e.region="text"),e.depth!==null?$e(i,e):e.region!=="text"&&i.eatSpace()?null:e.region==="start"&&(e.region="line",i.match(Kt))?"magic":i.match("{{")?(e.value=null,e.depth=0,$e(i,e)):e.region==="line"?Yt(i,e):(i.skipTo("{{")||i.skipToEnd(),null)}},Te={magic:A.Tag.define(),option:A.Tag.define(),value:A.Tag.define(),template:A.Tag.define()},V=j.StreamLanguage.define({...Qt,tokenTable:Te}),J=j.HighlightStyle.define(Object.entries(Te).map(([i,e])=>({tag:e,class:`xai-${i}`})))});function qe(i){return ei.exec(i)?.[0].length}function je({state:i,visibleRanges:e}){let t=new k.RangeSetBuilder,o=(a,r,s)=>{a<r&&t.add(a,r,E.Decoration.mark({class:s}))},n=0;for(let a of e)for(n=Math.max(n,a.from);n<=a.to;){let r=i.doc.lineAt(n);n=r.to+1;let s=qe(r.text);if(s===void 0)continue;let l=r.from+s,d=l,v=V.parser.parse(r.text.slice(s));(0,Re.highlightTree)(v,J,(p,h,m)=>{o(d,l+p,Z),o(l+p,l+h,m),d=l+h}),o(d,r.to,Z)}return t.finish()}function ni(i){let e=new k.Compartment,t=o=>Ie(o)?ii:oi;return[ti,e.of(t(i.split(`
`))),k.EditorState.transactionExtender.of(o=>{if(!o.docChanged)return null;let n=t(o.newDoc.iterLines());return n===e.get(o.startState)?null:{effects:e.reconfigure(n)}})]}var Oe,k,E,_e,Re,ei,Z,Pe,$,ti,ii,X,oi,Ne,De=x(()=>{"use strict";Oe=f(K(),1),k=f(ke(),1),E=f(Ee(),1),_e=f(F(),1),Re=f(G(),1);Me();ei=/^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/,Z="xai-text",Pe={closeBrackets:{brackets:[]}},$={fontStyle:"normal",fontWeight:"normal"},ti=E.EditorView.baseTheme({[`.${Z}`]:{...$,color:"var(--jp-content-font-color1)"},".xai-magic":{...$,color:"var(--jp-mirror-editor-operator-color)"},".xai-option":{...$,color:"var(--jp-mirror-editor-property-color)"},".xai-value":{...$,color:"var(--jp-mirror-editor-keyword-color)"},".xai-template":{...$,color:"var(--jp-mirror-editor-string-color)",backgroundColor:"color-mix(in srgb, currentcolor 8%, transparent)",borderRadius:"3px"},".cm-searching span":{color:"inherit"},"&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket":{color:"inherit !important",backgroundColor:"transparent !important"}}),ii=[k.Prec.highest([V,k.EditorState.languageData.of(()=>[Pe])]),(0,Oe.syntaxHighlighting)(J),E.EditorView.lineWrapping,E.EditorView.editorAttributes.of({class:"xai-prompt"})];X=class{constructor(e){this.marks=je(e)}update({docChanged:e,viewportChanged:t,view:o}){(e||t)&&(this.marks=je(o))}},oi=k.Prec.highest([E.ViewPlugin.fromClass(X,{decorations:({marks:i})=>i}),k.EditorState.languageData.of((i,e)=>qe(i.doc.lineAt(e).text)===void 0?[]:[Pe])]);Ne={name:"xai-notebook:prompt",factory:({model:i})=>!("type"in i)||i.type!=="code"?null:_e.EditorExtensionRegistry.createImmutableExtension(ni(i.sharedModel.getSource()))}});var Be=b((Ji,Ue)=>{Ue.exports=(g(),y(w)).modules["@jupyterlab/cells"]});var Fe=b((Zi,He)=>{He.exports=(g(),y(w)).modules["@jupyterlab/ui-components"]});var We,Ke,ai,Ge,Ve,Je=x(()=>{"use strict";We=f(Fe(),1),Ke=(i,e)=>new We.LabIcon({name:`xai-notebook:${i}`,svgstr:`<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">${e}</g></svg>`}),ai="M18.5 1l1.1 2.9 2.9 1.1-2.9 1.1-1.1 2.9-1.1-2.9-2.9-1.1 2.9-1.1z",Ge=Ke("panel",`<path d="${ai}"/><path d="M13 4H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-8h-2v8H4V6h9z"/><path d="M5.5 17.5h11l-3.6-4.8-2.6 3.3-1.9-2.2z"/>`),Ve=Ke("library",'<path d="M4 2h16v2H4zM3 5.5h18v2H3z"/><path d="M20 9H4a2 2 0 0 0-2 2v9a2 2 0 0 0 2 2h16a2 2 0 0 0 2-2v-9a2 2 0 0 0-2-2zm0 11H4v-9h16z"/><path d="M6 18.5h12l-4-5.2-2.9 3.6-2-2.3z"/>')});var Xe=b((Yi,Ze)=>{Ze.exports=(g(),y(w)).modules["@lumino/coreutils"]});var Y,ri,si,li,O,Ye=x(()=>{"use strict";Y=f(Xe(),1),ri="xai-notebook:permits",si=6e4,li=1e4,O=class{#e=new Map;constructor(){this.channel=new BroadcastChannel(ri),this.channel.addEventListener("message",({data:e})=>this.#o(e))}give(e){let t=Y.UUID.uuid4();return this.#e.set(e,{id:t,made:Date.now()}),t}async take(e,t=li){return this.#i(e)??await this.#t(e,t)}#i(e){let t=this.#e.get(e);return this.#e.delete(e),t&&Date.now()-t.made<si?t.id:void 0}#t(e,t){let o=Y.UUID.uuid4();return new Promise(n=>{let a=l=>{clearTimeout(r),this.channel.removeEventListener("message",s),n(l)},r=setTimeout(a,t,void 0),s=({data:l})=>{l?.tells===o&&a(typeof l.id=="string"?l.id:void 0)};this.channel.addEventListener("message",s),this.channel.postMessage({asks:o,path:e})})}#o(e){if(typeof e?.asks!="string"||typeof e.path!="string")return;let t=this.#i(e.path);t!==void 0&&this.channel.postMessage({tells:e.asks,id:t})}}});async function di({content:i},e,t){if(e.status!=="idle")return i.widgets.some(({model:s})=>s.sharedModel.getSource().includes(R));let n={code:"",silent:!0,store_history:!1,user_expressions:{loaded:`'${t}' in get_ipython().magics_manager.magics['line']`}},{content:a}=await e.requestExecute(n).done;return(a.status==="ok"?JSON.stringify(a.user_expressions):"").includes('"text/plain":"True"')}async function pi(i,e){let{content:t,sessionContext:o}=i,n=o.session?.kernel,a=n&&await di(i,n,e)?"":`${R}
`,r=t.activeCell?.model;(r?.type!=="code"||r.sharedModel.getSource().trim())&&ee.NotebookActions.insertBelow(t),t.deselectAll(),t.activeCell?.model.sharedModel.setSource(`${a}%${e}`),await ee.NotebookActions.run(t,o)}async function Qe(i){let{content:e,context:t,sessionContext:o}=i;if(await t.ready,!i.isAttached)return;let n=await et.take(t.path);if(n===void 0)return;await o.ready,await o.session?.kernel?.info;let[a,...r]=e.widgets;if(!i.isAttached||r.length||!(a instanceof Q.CodeCell))return;await a.ready;let{sharedModel:s}=a.model;s.getId()!==n||!ci.has(s.getSource())||await Q.CodeCell.execute(a,o)}async function hi(i,e,t){let{contents:o,kernelspecs:n}=i.serviceManager;await n.ready;let a=Object.values(n.specs?.kernelspecs??{}),r=n.specs?.default,s=a.filter(m=>m?.language==="python"),l=s.find(m=>m?.name===r)??s[0],{path:d}=await o.newUntitled({path:t,type:"notebook"}),p={id:et.give(d),cell_type:"code",execution_count:null,metadata:{},outputs:[]},h=l?{kernelspec:{name:l.name,display_name:l.display_name,language:"python"}}:{};await o.save(d,{type:"notebook",format:"json",content:{cells:[{...p,source:`${R}
%${e}`}],metadata:h,nbformat:4,nbformat_minor:5}}),await i.commands.execute("docmanager:open",{path:d,factory:"Notebook"})}function tt(i,e,t){for(let{command:o,magic:n,...a}of _)i.commands.addCommand(o,{...a,execute:async({cwd:r})=>{let s=e.currentWidget;s&&s===i.shell.currentWidget?await pi(s,n):await hi(i,n,String(r??t()??""))}});e.forEach(Qe),e.widgetAdded.connect((o,n)=>{Qe(n)})}var Q,ee,_,R,ci,et,it=x(()=>{"use strict";Q=f(Be(),1),ee=f(W(),1);Je();Ye();_=[{command:"xai-notebook:panel",magic:"xai_panel",label:"xAI image panel",caption:"Make images with a form, in this notebook or in a new one",icon:Ge},{command:"xai-notebook:library",magic:"xai_library",label:"xAI image library",caption:"Search and organize all your images, in this notebook or in a new one",icon:Ve}],R="%load_ext xai_notebook",ci=new Set(_.map(({magic:i})=>`${R}
%${i}`)),et=new O});var nt,ot=x(()=>{nt=`/* Colours come from the notebook's theme, with light defaults for pages without one. */

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
html[theme="dark"] .xai-widget,
:is(.marimo .dark, .v-theme--dark, .v-application.theme--dark) .xai-widget {
  --xai-ground: var(
    --jp-layout-color1,
    var(--vscode-editor-background, var(--background, #1c1d20))
  );
  --xai-sunk: var(--jp-layout-color2, var(--vscode-textCodeBlock-background, #26272b));
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

/* Solara's JupyterLab variables are light in its dark theme, too. */
:is(.v-theme--dark, .v-application.theme--dark) .xai-widget {
  --xai-ground: #1c1d20;
  --xai-sunk: #26272b;
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
  appearance: auto; /* Solara's styles hide the arrow */
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
`});var rt,at=x(()=>{rt=`/* The viewer: one picture in full, or two under a slider. */

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
`});function c(i,e={},...t){let o=document.createElement(i);for(let[n,a]of Object.entries(e))n.startsWith("on")?o.addEventListener(n.slice(2),a):a===!0?o.setAttribute(n,""):a!==!1&&a!=null&&o.setAttribute(n,String(a));fi.has(i)&&o.setAttribute("data-lm-suppress-shortcuts","true");for(let n of t.flat())n!=null&&n!==""&&o.append(n);return o}function S(i,e,t={}){let{class:o="xai-small",...n}=t;return c("button",{type:"button",class:`xai-button ${o}`,onclick:e,...n},i)}function te(i,e,t={}){return c("button",{type:"button",class:"xai-link",onclick:e,...t},i)}function ie(i){return i.getRootNode().activeElement??null}function z(i,e){i.textContent!==e&&(i.textContent=e),i.hidden=e===""}function P(i){return st+=1,`xai-${mi}-${i}-${st}`}function lt(i,e,t,o={},n="Cell"){let a=S(i,async()=>{let r=await gi(e(),a);a.textContent=r?"Copied":"Not copied",t(r?`${n} copied to the clipboard.`:`Select the ${n.toLowerCase()} and copy it.`),setTimeout(()=>{a.textContent=i},2e3)},o);return a}async function gi(i,e){try{return await navigator.clipboard.writeText(i),!0}catch{let t=c("textarea",{class:"xai-unseen","aria-hidden":"true"});t.value=i,(e.closest("dialog[open]")??document.body).append(t),t.select();let o=document.execCommand("copy");return t.remove(),o}}var fi,mi,st,I=x(()=>{"use strict";fi=new Set(["button","input","pre","select","summary","textarea"]);mi=Math.random().toString(36).slice(2,8),st=0});function ct(i,{say:e,side:t,tag:o,cells:n}){let{prompt:a,rewritten:r,facts:s=[],created:l,inputs:d=[],tags:v=[],cell:p,lineage:h}=i,m=l?[new Date(l*1e3).toLocaleString(void 0,wi)]:[],u=r?[C("Rewritten prompt",oe(r)),C("Prompt as written",oe(a))]:[C("Prompt",oe(a))],B=n?"Cell":"Call",Pt={class:"xai-factlist",role:"list","aria-label":"Facts"};return u.push(c("ul",Pt,[...s,...m].map(qt=>c("li",{},qt)))),t?[c("h3",{class:"xai-side"},t),...u]:(d.length&&!h?.ancestors.length&&u.push(C("Made from",c("p",{},d.join(", ")))),o&&u.push(yi(v,o)),p&&u.push(C(`The ${B.toLowerCase()} that made it`,bi(p),lt(`Copy the ${B.toLowerCase()}`,()=>p,e,{},B))),u)}function yi(i,e){let t=()=>{let a=o.value.trim();a&&e(a,!0),o.value=""},o=c("input",{type:"text",id:P("tag"),"aria-label":"Add a tag",placeholder:"Add a tag",maxlength:60,size:10,onkeydown:a=>a.key==="Enter"&&t()}),n=i.map(a=>c("span",{class:"xai-chip"},a," ",te("×",()=>e(a,!1),{"aria-label":`Remove the tag ${a}`})));return C("Tags",c("div",{class:"xai-row xai-tags"},n,o,S("Add",t)))}function dt({id:i,lineage:{ancestors:e,descendants:t}},{show:o,thumbnail:n}){let a=[...e,...i===null?[]:[i],...t];return a.length<2?[]:a.map((r,s)=>{let l=r===i?"This picture":s<e.length?"Source":"Edit of this picture",d=c("img",{alt:"",hidden:!0});n(r).then(m=>{d.src=m,d.hidden=!m});let v={class:"xai-link xai-kin","aria-label":`${l}, ${s+1} of ${a.length}`,"aria-current":r===i?"true":null},p=c("span",{class:"xai-quiet"},r===i?"This picture":l),h=te("",()=>o(r),v);return h.append(d,p),c("li",{},h)})}var wi,C,oe,bi,pt=x(()=>{"use strict";I();wi={dateStyle:"medium",timeStyle:"short"},C=(i,...e)=>c("section",{},c("h3",{class:"xai-title xai-quiet"},i),e),oe=i=>c("p",{class:"xai-prompt",dir:"auto"},i||"No prompt"),bi=i=>c("pre",{class:"xai-cell",tabindex:0,role:"group","aria-label":"Source"},c("code",{},i))});function ht({width:i,height:e},t){let o=Math.min(1,t.width/i,t.height/e);return{width:i*o,height:e*o}}function ut(i,e,t,o,n={x:0,y:0}){let a=Math.max(1,Math.min(16,e)),r=a/i.zoom,s=n.x-(n.x-i.x)*r,l=n.y-(n.y-i.y)*r;return ae({zoom:a,x:s,y:l},t,o)}function ae({zoom:i,x:e,y:t},o,n){let a=Math.max(0,(o.width*i-n.width)/2),r=Math.max(0,(o.height*i-n.height)/2);return{zoom:i,x:L(e,-a,a),y:L(t,-r,r)}}function L(i,e,t){return Math.max(e,Math.min(t,i))+0}var ne,xt=x(()=>{"use strict";ne={zoom:1,x:0,y:0}});var q,vi,N,ft=x(()=>{"use strict";xt();I();q=60,vi={ArrowLeft:[q,0],ArrowRight:[-q,0],ArrowUp:[0,q],ArrowDown:[0,-q]},N=class{look=ne;images=[];picture={width:1,height:1};#e=new Map;constructor(e){this.changed=e,this.handle=c("span",{class:"xai-handle",hidden:!0,"aria-hidden":"true"}),this.plane=c("div",{class:"xai-plane"},this.handle),this.slider=c("input",{type:"range",class:"xai-slider",min:0,max:100,step:"any",value:50,"aria-label":"Visible part of the first picture",oninput:()=>this.#t(),onkeydown:t=>this.#o(t)}),this.element=c("div",{class:"xai-view",tabindex:0,role:"group","data-lm-suppress-shortcuts":"true","aria-label":"Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",ondblclick:t=>this.#i(t),onpointerdown:t=>this.#s(t),onpointermove:t=>this.#l(t),onpointerup:t=>this.#e.delete(t.pointerId),onpointercancel:t=>this.#e.delete(t.pointerId)},this.plane),this.element.addEventListener("wheel",t=>this.#r(t),{passive:!1}),this.watch=new ResizeObserver(()=>this.draw()),this.watch.observe(this.element)}show(e,t=[]){this.images=e;let[o,n]=e,[a=0,r=0]=t;this.picture={width:a||1,height:r||1};let s=()=>{this.images[0]!==o||a||!o?.naturalWidth||(this.picture={width:o.naturalWidth,height:o.naturalHeight},this.draw())};o?.addEventListener("load",s),this.plane.replaceChildren(...e,this.handle),this.handle.hidden=this.slider.hidden=!n,this.slider.value="50",n&&this.#t(),s(),this.fit()}get frame(){return{width:this.element.clientWidth,height:this.element.clientHeight}}get drawn(){return ht(this.picture,this.frame)}fit(){this.look=ne,this.draw()}fullSize(e={x:0,y:0}){let t=this.picture.width/devicePixelRatio/this.drawn.width;this.zoom(t/this.look.zoom,e)}zoom(e,t={x:0,y:0}){this.look=ut(this.look,this.look.zoom*e,this.drawn,this.frame,t),this.draw()}pan(e,t){let o={...this.look,x:this.look.x+e,y:this.look.y+t};this.look=ae(o,this.drawn,this.frame),this.draw()}draw(){let{width:e,height:t}=this.drawn,{zoom:o,x:n,y:a}=this.look;this.plane.style.cssText=`width: ${e}px; height: ${t}px; transform: translate(${n}px, ${a}px) scale(${o}); --xai-zoom: ${o}`,this.element.classList.toggle("xai-zoomed",o>1);let r=this.drawn.width*o*devicePixelRatio;this.changed(Math.round(r/this.picture.width*100))}#i(e){this.look.zoom>1?this.fit():this.fullSize(this.#n(e))}#t(){let[,e]=this.images;e&&(e.style.clipPath=`inset(0 0 0 ${this.slider.value}%)`),this.handle.style.left=`${this.slider.value}%`}#o(e){let o={ArrowLeft:-1,ArrowDown:-1,ArrowRight:1,ArrowUp:1,PageDown:-10,PageUp:10}[e.key];o!==void 0&&(e.preventDefault(),e.stopPropagation(),this.slider.value=String(L(Number(this.slider.value)+o,0,100)),this.#t())}#n({clientX:e,clientY:t}){let{left:o,top:n,width:a,height:r}=this.element.getBoundingClientRect();return{x:e-o-a/2,y:t-n-r/2}}#r(e){e.preventDefault(),this.zoom(1.0015**-L(e.deltaY*(e.deltaMode?30:1),-240,240),this.#n(e))}#s(e){e.button===0&&(this.#e.set(e.pointerId,this.#n(e)),this.element.setPointerCapture(e.pointerId),this.sliding=e.target===this.handle||this.images.length>1&&this.look.zoom===1,this.sliding&&this.#a(e))}#l(e){let t=this.#e.get(e.pointerId);if(!t)return;let[o]=[...this.#e].filter(([a])=>a!==e.pointerId).map(([,a])=>a),n=this.#n(e);if(this.#e.set(e.pointerId,n),o){let a=({x:r,y:s})=>Math.hypot(r-o.x,s-o.y);this.zoom(a(n)/(a(t)||1),o)}else this.sliding?this.#a(e):this.pan(n.x-t.x,n.y-t.y)}#a({clientX:e}){let{left:t,width:o}=this.plane.getBoundingClientRect();this.slider.value=String(L((e-t)/o*100,0,100)),this.#t()}key(e){let t=vi[e];if(e==="+"||e==="=")this.zoom(1.5);else if(e==="-")this.zoom(1/1.5);else if(e==="0")this.fit();else if(e==="1")this.fullSize();else if(t&&this.look.zoom>1)this.pan(...t);else return!1;return!0}}});var D,mt=x(()=>{"use strict";I();D=class{constructor({step:e,press:t,turn:o,close:n},a){let r=(s,l,d)=>S(s,()=>t(l),{"aria-label":d});this.before=S("←",()=>e(-1),{"aria-label":"Previous picture (←)"}),this.after=S("→",()=>e(1),{"aria-label":"Next picture (→)"}),this.percent=c("span",{class:"xai-quiet xai-percent"}),this.star=r("☆ Star","*","Star (*)"),this.turn=S("Before and after",o,{hidden:!0}),this.single=[this.before,this.after,...a.star?[this.star]:[],...a.save?[r("Save","s","Save (S)")]:[],...a.edit?[r("Edit this","e","Edit this (E)")]:[]],this.zooms=c("div",{class:"xai-row xai-tools"},r("−","-","Smaller (−)"),this.percent,r("+","+","Larger (+)"),r("Fit","0","Fit (0)"),r("1:1","1","Full size, one image pixel per screen pixel (1)")),this.acts=c("div",{class:"xai-row xai-tools"},this.turn,this.single.slice(2)),this.close=S("✕",n,{class:"xai-small xai-close","aria-label":"Close"})}show(e,t){for(let o of this.single)o.hidden=e;this.turn.hidden=!t,this.turn.textContent="Back to the picture"}update({id:e,starred:t,lineage:o}){this.turn.hidden=o.ancestors.length===0,this.turn.textContent="Before and after",this.star.disabled=e===null,this.star.textContent=t?"★ Starred":"☆ Star",this.star.setAttribute("aria-label",`${t?"Remove star":"Star"} (*)`)}}});var ki,U,gt=x(()=>{"use strict";pt();I();ft();mt();ki={ArrowLeft:-1,ArrowRight:1,PageUp:-1,PageDown:1},U=class{keys=[];shown;#e;#i=[];#t=[];#o=Promise.resolve();constructor(e,t=!0){this.source=e,this.cells=t;let o={step:u=>this.step(u),press:u=>this.press(u),turn:()=>this.turn(),close:()=>this.element.close()};this.tools=new D(o,e),this.stage=new N(u=>z(this.tools.percent,`${u} %`)),this.title=c("h2",{class:"xai-title",id:P("title")}),this.note=c("p",{class:"xai-hint",role:"status",hidden:!0}),this.about=c("div",{class:"xai-about"});let n={class:"xai-strip",role:"list","aria-label":"Sources and edits",hidden:!0};this.strip=c("ul",n);let{before:a,after:r,zooms:s,acts:l,close:d}=this.tools,v=c("div",{class:"xai-row xai-steps"},a,this.title,r),{element:p,slider:h}=this.stage,m=c("div",{class:"xai-look"},p,h,this.note,this.strip);this.element=c("dialog",{class:"xai-widget xai-viewer","aria-labelledby":this.title.id},c("div",{class:"xai-viewerhead"},v,s,l,d),c("div",{class:"xai-sheets"},m,this.about)),this.element.addEventListener("keydown",u=>this.#u(u)),this.element.addEventListener("close",()=>this.#d()),this.element.addEventListener("click",({target:u})=>{u===this.element&&this.element.close()})}async open(...e){this.keys=e,this.shown=void 0,this.#e=void 0,await this.#n(e)}async turn(){if(this.#e!==void 0)return this.open(this.#e);let e=this.shown?.lineage.ancestors.at(-1);if(e!==void 0)return[this.#e]=this.keys,this.keys=[e,this.#e],this.shown=void 0,this.#n(this.keys)}async#n(e){let t=e.length>1,{source:o}=this,n=t?"":o.position?.(e[0])??"";this.title.textContent=t?"Compare":`Picture ${n}`.trim(),this.tools.show(t,this.#e!==void 0),this.element.classList.toggle("xai-two",t),this.#a(e.map(a=>o.glance(a))),this.#r(t),z(this.note,"Loading the original …"),this.#o=this.#s(e),await this.#o}#r(e){let t=this.element.open;t||this.element.showModal();let o=ie(this.element),n=t&&this.element.contains(o)&&o?.getClientRects().length;e?this.stage.slider.focus():n||this.stage.element.focus()}async#s(e){try{let t=await Promise.all(e.map(o=>this.source.load(o)));if(this.keys===e)this.#l(t);else for(let{url:o}of t)URL.revokeObjectURL(o)}catch(t){let{message:o}=t,n=this.stage.images.some(a=>a.src);this.keys===e&&z(this.note,n?`This is a preview. ${o}`:o)}}#l(e){let t=this.#t;this.#t=e.map(({url:n})=>n);let o=e.map(({error:n})=>n).filter(Boolean);z(this.note,o.join(" ")),this.shown=e.length===1?e[0]:void 0,this.#a(e);for(let n of t)URL.revokeObjectURL(n)}#a(e){let t=this.#i===this.keys;this.#i=this.keys;let n=t?this.stage.images:e.map(()=>c("img",{alt:"",draggable:"false"}));for(let[r,s]of e.entries()){let l=n[r];!l||!s||(l.alt=s.alt??"",s.url&&(l.src=s.url))}let a=e[0]?.size;(!t||a?.length&&a[0]!==this.stage.picture.width)&&this.stage.show(n,a),this.#c(e)}#c(e){let{tag:t,thumbnail:o}=this.source,{shown:n}=this,a=n?.id??null,r=t&&a!==null?t.bind(null,a):void 0,s=h=>this.say(h),l=e.length>1?["Left","Right"]:[],d=e.map((h,m)=>{let u=l[m];return h?ct(h,{say:s,side:u,tag:r,cells:this.cells}):[]});this.about.replaceChildren(...d.flat());let p=n&&o?dt(n,{show:h=>this.open(h),thumbnail:o}):[];this.strip.replaceChildren(...p),this.strip.hidden=p.length===0,n&&this.tools.update(n)}changed(e){let t=this.shown&&e.find(({id:n})=>n===this.shown?.id);if(!t||!this.shown)return;let o=this.about.contains(ie(this.about));this.shown={...this.shown,starred:t.starred,tags:t.tags},this.#c([this.shown]),o&&this.about.querySelector("input")?.focus()}say(e){this.element.open&&z(this.note,e)}#d(){this.keys=[],this.shown=this.#e=void 0,this.stage.show([]),this.about.replaceChildren(),this.strip.replaceChildren();for(let e of this.#t)URL.revokeObjectURL(e);this.#t=[],this.source.closed?.()}async step(e){if(this.keys.length!==1)return;let t=await this.source.next(this.keys[0],e);t!==void 0&&await this.open(t)}press(e){let t=ki[e];if(this.stage.key(e))return!0;if(t!==void 0)this.step(t);else if(e==="b")this.turn();else return this.#p(e);return!0}#p(e){let{source:t}=this,[o]=this.keys;if(this.keys.length!==1)return!1;if(e==="*"&&t.star)this.#h();else if(e==="s"&&t.save)t.save(o);else if(e==="e"&&t.edit)this.element.close(),t.edit(o);else return!1;return!0}async#h(){let{keys:e}=this;await this.#o;let{shown:t}=this;this.keys===e&&t&&t.id!==null&&this.source.star?.(t.id,!t.starred)}#u(e){e.key==="Escape"&&e.stopPropagation();let{target:t,key:o}=e;e.ctrlKey||e.metaKey||e.altKey||t.closest("input, pre")||this.press(o.length===1?o.toLowerCase():o)&&(e.preventDefault(),e.stopPropagation())}}});function yt(i){let e=i.querySelectorAll(wt);for(let t of e)!t.closest(".jp-OutputArea-output")?.querySelector(wt+Et)||t.closest(".xai-widget")||(t.classList.add(T),t.tabIndex=0,t.setAttribute("role","button"),t.setAttribute("aria-haspopup","dialog"))}function re(i,e){for(let t of i)for(let o of t.querySelectorAll("strong, summary")){if(o.textContent?.trim().replace(/:$/,"")!==e)continue;let n=o.closest("summary")?.parentElement??o.parentElement;return(n?.querySelector(":scope > div bdi")??n?.querySelector("bdi"))?.textContent??""}return""}function Li({facts:i,size:[e=0]}){let[,t]=/(\d+) × \d+/.exec(i.join(" "))??[];return Number(t)>e}function zt(i){let e=i.parentElement?.querySelector("figcaption"),o=i.closest(".jp-OutputArea-output")?.querySelector(":scope > div > div:first-child"),n=[e,o?.querySelector("img")?null:o].filter(l=>!!l),a=i.matches(Et),r=[...e?.children??[]].find(l=>l.matches("div")&&!l.querySelector("strong")),s=(a?r:e)?.textContent??"";return{id:null,url:i.src,alt:i.alt,size:[i.naturalWidth,i.naturalHeight],prompt:re(n,"Prompt")||re(n,"Prompt as written"),rewritten:re(n,"Rewritten prompt"),facts:s.split(" · ").filter(l=>l&&!/^\[[\d:]+\]$/.test(l)),error:"",created:0,starred:!1,tags:[],inputs:[],cell:"",lineage:{ancestors:[],descendants:[]},media_type:""}}async function Ai(i){let[e]=[...i.classList].flatMap(p=>Si.exec(p)?.[1]??[]),o=Ct?.find(({node:p})=>p.contains(i))?.sessionContext.session?.kernel;if(!e)return{url:"",missing:""};if(!o||(await o.info).language_info.name!=="python")return{url:"",missing:St};let a={code:"",silent:!0,store_history:!1,user_expressions:{found:`get_ipython().magics_manager.registry["XaiImage"].original("${e}")`}},{content:r}=await o.requestExecute(a).done,l=r.status==="ok"?r.user_expressions?.found:void 0;if(!l?.data)return{url:"",missing:Ei};let d=Object.keys(l.data).find(p=>p.startsWith("image/"));if(!d)return{url:"",missing:zi};let v=await(await fetch(`data:${d};base64,${l.data[d]}`)).blob();return{url:URL.createObjectURL(v),missing:""}}async function $i(i){await i.decode().catch(()=>{});let e=zt(i);if(!Li(e))return e;let{url:t,missing:o}=await Ai(i).catch(()=>({url:"",missing:St}));if(!t)return{...e,error:`${bt} ${o}`.trim()};let n=new Image;n.src=t;try{await n.decode()}catch{return URL.revokeObjectURL(t),{...e,error:bt}}return{...e,url:t,size:[n.naturalWidth,n.naturalHeight]}}function vt(i){return[...(i.closest(".jp-OutputArea")??document).querySelectorAll(`.${T}`)]}function kt(i){let{target:e}=i;!(e instanceof HTMLImageElement)||!e.classList.contains(T)||(i.preventDefault(),i.stopPropagation(),Lt.open(e))}function At(i,e){Ct=e;let t=document.createElement("style");t.textContent=nt+rt+Ci,document.head.append(t),document.body.append(Lt.element),yt(document),new MutationObserver(n=>{for(let{addedNodes:a}of n)for(let r of a)r instanceof Element&&yt(r)}).observe(document.body,{childList:!0,subtree:!0}),document.addEventListener("click",n=>{!n.ctrlKey&&!n.metaKey&&!n.shiftKey&&!n.altKey&&kt(n)});let o=new Set(["Enter"," "]);window.addEventListener("keydown",n=>o.has(n.key)&&kt(n),!0)}var T,wt,Si,bt,St,Ei,zi,Et,Ci,Ct,Lt,$t=x(()=>{"use strict";ot();at();gt();T="xai-opens",wt='figure > img[src^="data:image/"]',Si=/^sha256-([0-9a-f]{64})$/,bt="This is the preview in the notebook.",St="To see the original, start a kernel and run %load_ext xai_notebook.",Ei="To see the original, run %load_ext xai_notebook.",zi="The original is not in the library.",Et='[alt*=", generated from the prompt: "]',Ci=`.${T} { cursor: zoom-in; }
.${T}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;Lt=new U({glance:zt,load:$i,next:(i,e)=>{let t=vt(i),o=t.indexOf(i);return o<0?void 0:t[o+e]},position:i=>{let e=vt(i);return e.length>1?`${e.indexOf(i)+1} of ${e.length}`:""}})});var Ot={};le(Ot,{default:()=>ji});var It,Tt,Mt,jt,se,Ii,Ti,Mi,ji,_t=x(()=>{"use strict";It=f(ue(),1),Tt=f(F(),1),Mt=f(me(),1),jt=f(we(),1),se=f(W(),1);De();it();$t();Ii={id:"xai-notebook:cells",description:"Shows a cell of %%xai_image as text.",autoStart:!0,requires:[Tt.IEditorExtensionRegistry],activate:(i,e)=>e.addExtension(Ne)},Ti={id:"xai-notebook:places",description:"Adds the panel and the library to launcher and command palette.",autoStart:!0,requires:[se.INotebookTracker],optional:[It.ICommandPalette,jt.ILauncher,Mt.IDefaultFileBrowser],activate:(i,e,t,o,n)=>{tt(i,e,()=>n?.model.path),_.forEach(({command:a},r)=>{t?.addItem({command:a,category:"xAI images",rank:r}),o?.add({command:a,category:"Other",rank:100+r})})}},Mi={id:"xai-notebook:pictures",description:"Opens the pictures of cells in a viewer.",autoStart:!0,requires:[se.INotebookTracker],activate:At},ji=[Ii,Ti,Mi]});g();var Rt={};globalThis._JUPYTERLAB??={};globalThis._JUPYTERLAB["xai-notebook"]={init(i){Rt=i},async get(){await H(Rt);let{default:i}=await Promise.resolve().then(()=>(_t(),Ot));return()=>({__esModule:!0,default:i})}};})();
