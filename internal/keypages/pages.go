// Package keypages has the pages about keys: templates, and what each one shows. It reads
// nothing and decides nothing: what a page shows, and which actions it offers, is what
// package routes puts into its data. It depends on packages api and webui only.
package keypages

import (
	"embed"
	"html/template"

	"github.com/keytail/keytail/internal/webui"
)

//go:embed templates
var files embed.FS

// The pages. The data of each is the type beside it.
var (
	List    = page("list")    // ListData
	Show    = page("show")    // ShowData
	New     = page("new")     // NewData
	Rotate  = page("rotate")  // ConfirmData
	Revoke  = page("revoke")  // ConfirmData
	Find    = page("find")    // FindData
	SignIn  = page("signin")  // SignInData
	Problem = page("problem") // ProblemData
)

func page(name string) *webui.Page {
	return webui.MustPage(files, template.FuncMap{"text": text}, "templates/parts.html", "templates/"+name+".html")
}

// text is a value that may be nil, and "" for nil.
func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}
