// Package webui is the frame of the pages that people see in a browser on the admin
// listener: document, navigation, style, scripts and the security headers. It knows
// nothing of keytail's data, and depends on the standard library only.
//
// To add a page:
//
//  1. Write a template file with the blocks "content" (inside of <main>; begin with an
//     <h1>) and, if needed, "head" into the templates directory of your own package,
//     embed the directory, and make the page once: var keys = webui.MustPage(files,
//     "templates/keys.html").
//  2. Answer a request with keys.Write(w, http.StatusOK, &webui.View{…}). It sets the
//     security headers. A page with a form sets View.Forms.
//  3. Add the link to the list that routes passes as View.Links.
//
// The content security policy allows no inline script, no inline style and no style
// attribute: classes are in assets/style.css, and a script is a file of its own in
// assets, which View.Script names. Every page must work without its script.
package webui
