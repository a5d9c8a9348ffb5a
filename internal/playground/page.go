package playground

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/keytail/keytail/internal/webui"
)

//go:embed templates
var files embed.FS

var page = webui.MustPage(files, template.FuncMap{}, "templates/*.html")

// refreshSeconds is how often a browser without scripts loads the page: often enough to
// see an answer change, and seldom enough to press a button.
const refreshSeconds = 5

// Write answers with the page in the frame. It writes nothing if it returns an error.
func (p *Playground) Write(w http.ResponseWriter, frame webui.View) error { //nolint:gocritic // hugeParam: it is changed
	frame.Title, frame.Data = "Playground", p.snapshot()
	frame.Script, frame.RefreshSeconds, frame.Forms = webui.PathLive, refreshSeconds, true
	return page.Write(w, http.StatusOK, &frame)
}

// Parts are the elements of the page that change.
func (p *Playground) Parts() ([]webui.Part, error) {
	d := p.snapshot()
	var all []webui.Part
	add := func(id, name, version string, dot any) error {
		text, err := page.Fragment(name, dot)
		all = append(all, webui.Part{ID: id, HTML: text, Version: version})
		return err
	}
	for _, name := range []string{"news", "faults", "age", "make"} {
		if err := add(name, name, "", d); err != nil {
			return nil, err
		}
	}
	// The keys with everything in them only if there are others: whoever presses a button
	// must not lose it under the finger.
	if err := add("keys", "keys", d.version(), d); err != nil {
		return nil, err
	}
	for i := range d.Keys {
		k := &d.Keys[i]
		for _, name := range []string{"top", "lanes", "changes"} {
			if err := add(fmt.Sprintf("k%d-%s", k.Number, name), name, "", k); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// version is the same as long as the page has the same keys.
func (d *data) version() string {
	var b strings.Builder
	b.WriteString("keys")
	for i := range d.Keys {
		fmt.Fprintf(&b, " %d %s", d.Keys[i].Number, d.Keys[i].Prefix)
	}
	return b.String()
}
