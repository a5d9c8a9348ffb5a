package webui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
)

//go:embed templates/base.html
var baseFiles embed.FS

// Link is an entry of the navigation.
type Link struct {
	// Path is that of the page, Text its name for people.
	Path, Text string
}

// View is what one response shows. Texts are escaped.
type View struct {
	// Title is the name of the page, before the name of the program.
	Title string
	// Links are the navigation. Current is the path of the page in it. Empty: no entry
	// is marked.
	Links   []Link
	Current string
	// User is who has signed in, such as "ops (viewer)". Empty: not shown.
	User string
	// SignOut is the path to which the button to sign out posts. Empty: there is none.
	SignOut string
	// Data is the dot of the template's content.
	Data any
	// Script is the path of an asset that improves the page. Empty: the page has no
	// script, and the browser runs none.
	Script string
	// RefreshSeconds is after how many seconds a browser without scripts loads the page
	// again. Zero: never.
	RefreshSeconds int
	// Forms lets the page send forms to this listener.
	Forms bool
}

// Page is a template within the frame. It is safe for concurrent use.
type Page struct{ template *template.Template }

// MustPage parses the files, which define "content" and may define "head". It panics if
// they cannot be parsed, which a test finds.
func MustPage(files fs.FS, functions template.FuncMap, patterns ...string) *Page {
	base := template.Must(template.New("base.html").Funcs(functions).ParseFS(baseFiles, "templates/base.html"))
	return &Page{template.Must(base.ParseFS(files, patterns...))}
}

// Write answers with the page. The error is that of the template, and nothing has been
// written then; that of a client that is gone is not reported.
func (p *Page) Write(w http.ResponseWriter, status int, view *View) error {
	var body bytes.Buffer
	if err := p.template.Execute(&body, view); err != nil {
		return fmt.Errorf("page %q: %w", view.Title, err)
	}
	header := w.Header()
	secure(header, view)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
	return nil
}

// Part is the content of one element of a page that changes.
type Part struct {
	// ID is that of the element.
	ID   string
	HTML string
	// Version is the same as long as the part need not be sent again. Empty: it is the HTML.
	Version string
}

// Fragment is one of the page's templates alone, for a script that replaces a part of
// the page.
func (p *Page) Fragment(name string, data any) (string, error) {
	var text bytes.Buffer
	if err := p.template.ExecuteTemplate(&text, name, data); err != nil {
		return "", fmt.Errorf("part %q of a page: %w", name, err)
	}
	return text.String(), nil
}
