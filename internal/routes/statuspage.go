package routes

import (
	"html/template"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/webui"
)

// pathAsset is Gin's path of the files that pages load.
const pathAsset = webui.PathAssets + ":file"

func asset(c *gin.Context) {
	if !webui.WriteAsset(c.Writer, c.Param("file")) {
		writeProblem(c, api.CodeNoSuchPath, "this path does not exist")
	}
}

// page shows the status to people. The page has no scripts and loads nothing.
func (a *admin) page(c *gin.Context) {
	header := c.Writer.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Type", "text/html; charset=utf-8")
	c.Status(http.StatusOK)
	if err := statusPage.Execute(c.Writer, a.currentStatus()); err != nil {
		// The client is gone: the template itself is tested.
		_ = c.Error(err)
	}
}

var statusPage = template.Must(template.New("status").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<title>keytail: {{.State}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:40rem;padding:0 1rem;color-scheme:light dark}
th{text-align:left;font-weight:normal;padding-right:2rem;vertical-align:top}h1{font-size:1.3rem}</style></head>
<body><h1>keytail is {{.State}}</h1>
<table>
<tr><th>instance<td>{{.Instance}}
<tr><th>version<td>{{.Version}}
<tr><th>staleness<td>{{with .StalenessMS}}{{.}} ms{{else}}unknown{{end}}
<tr><th>lag of the last change<td>{{with .LagMS}}{{.}} ms{{else}}unknown{{end}}
<tr><th>epoch<td>{{.Epoch}}
<tr><th>cache is complete<td>{{if .Complete}}yes{{else}}no{{end}}
<tr><th>cache entries<td>{{.Entries}}
<tr><th>last loss of history<td>{{with .LastLoss}}{{.At}}: {{.Reason}}{{else}}never{{end}}
<tr><th>unique index on the hash<td>{{with .IndexMissing}}MISSING: {{.}}{{else}}yes{{end}}
{{with .Usage}}<tr><th>usage not written yet<td>{{.PendingKeys}} keys{{with .FailingMS}}, writes have failed for {{.}} ms{{end}}
{{end}}{{with .Note}}<tr><th>note<td>{{.}}
{{end}}</table></body></html>
`))
