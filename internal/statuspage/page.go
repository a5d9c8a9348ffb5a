package statuspage

import (
	"embed"
	"html/template"
	"net/http"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/webui"
)

//go:embed templates
var files embed.FS

var functions = template.FuncMap{
	"moment": moment, "number": number, "size": size, "seconds": seconds, "settingName": settingName,
}

var page = webui.MustPage(files, functions, "templates/*.html")

// refreshSeconds is how often a browser without scripts loads the page.
const refreshSeconds = 10

// Data is what the page shows. Nothing changes it.
type Data struct {
	// Status is required.
	Status *api.Status
	// Now is when the Status was read.
	Now time.Time
	// Fleet and Audit are nil if they are not shown.
	Fleet *Fleet
	Audit *Audit
}

// Fleet are the instances of the last list that was read.
type Fleet struct {
	Instances []api.Instance
	// AsOf is when the list was read. Zero: never.
	AsOf time.Time
	// Failed: the last attempt to read it failed.
	Failed bool
}

// WasRead reports whether there is a list: of one that was never read, nothing may be said.
func (f *Fleet) WasRead() bool { return !f.AsOf.IsZero() }

// Audit are the last entries of the audit, the newest first.
type Audit struct {
	Entries []api.AuditEntry
	// AsOf and Failed are those of Fleet.
	AsOf   time.Time
	Failed bool
}

// WasRead is that of Fleet.
func (a *Audit) WasRead() bool { return !a.AsOf.IsZero() }

// Write answers with the page in the frame. It sets what the page itself decides of the
// frame; the caller sets Links and User. It writes nothing if it returns an error.
func Write(w http.ResponseWriter, data *Data, frame webui.View) error {
	frame.Title, frame.Current, frame.Data = data.Title(), "/", data
	frame.Script, frame.RefreshSeconds = webui.PathLive, refreshSeconds
	return page.Write(w, http.StatusOK, &frame)
}

// Title is the title of the page: a person sees it in a list of tabs.
func (d *Data) Title() string { return d.Status.State + ": " + d.Status.Instance }

// partIDs are the elements that change, in the order of the page. Each has a template of
// the same name.
var partIDs = []string{"state", "why", "staleness", "mongodb", "verdicts", "delays", "losses", "fleet", "audit", "defects", "process"}

// Parts are the elements of the page that change.
func Parts(data *Data) ([]webui.Part, error) {
	all := make([]webui.Part, 0, len(partIDs))
	for _, id := range partIDs {
		text, err := page.Fragment(id, data)
		if err != nil {
			return nil, err
		}
		all = append(all, webui.Part{ID: id, HTML: text})
	}
	return all, nil
}
