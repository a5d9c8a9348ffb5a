package webui

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

var hello = fstest.MapFS{"hello.html": {Data: []byte(`{{define "content"}}<h1>Hello {{.}}</h1>{{template "part" .}}{{end}}{{define "part"}}<p>{{.}}</p>{{end}}`)}}

func write(t *testing.T, view *View) (*httptest.ResponseRecorder, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	if err := MustPage(hello, nil, "hello.html").Write(recorder, http.StatusOK, view); err != nil {
		t.Fatal(err)
	}
	return recorder, recorder.Body.String()
}

func TestPageEscapesEveryText(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>"'`
	_, body := write(t, &View{Title: evil, Links: []Link{{"/", evil}}, User: evil, Data: evil})
	if strings.Contains(body, "<script") || strings.Count(body, "&lt;script&gt;") != 5 {
		t.Errorf("a text is not escaped:\n%s", body)
	}
}

// TestPagesMayDoNothingThatTheyDoNotNeed: no page may load anything of another server, and
// one without a script or a form has the right to neither.
func TestPagesMayDoNothingThatTheyDoNotNeed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		view      View
		allows    []string
		scriptTag bool
	}{
		{View{}, []string{"script-src 'none'", "connect-src 'none'", "form-action 'none'"}, false},
		{View{Script: PathLive}, []string{"script-src 'self'", "connect-src 'self'", "form-action 'none'"}, true},
		{View{Forms: true}, []string{"script-src 'none'", "form-action 'self'"}, false},
	} {
		recorder, body := write(t, &c.view)
		policy := recorder.Header().Get("Content-Security-Policy")
		for _, part := range append(c.allows, "default-src 'none'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'") {
			if !strings.Contains(policy+";", part+";") {
				t.Errorf("%+v: the policy %q lacks %q", c.view, policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "data:") {
			t.Errorf("%+v: the policy is %q", c.view, policy)
		}
		if strings.Contains(body, "<script") != c.scriptTag {
			t.Errorf("%+v: the page is\n%s", c.view, body)
		}
	}
}

func TestNavigationMarksTheCurrentPage(t *testing.T) {
	t.Parallel()
	_, body := write(t, &View{Links: []Link{{"/", "Status"}, {"/keys", "Keys"}}, Current: "/keys"})
	if !strings.Contains(body, `<a href="/keys" aria-current="page">Keys</a>`) || strings.Count(body, "aria-current") != 1 {
		t.Errorf("the navigation is\n%s", body)
	}
}

func TestTemplateThatFailsWritesNothing(t *testing.T) {
	t.Parallel()
	page := MustPage(fstest.MapFS{"x.html": {Data: []byte(`{{define "content"}}before {{.Absent}}{{end}}`)}}, nil, "x.html")
	recorder := httptest.NewRecorder()
	if err := page.Write(recorder, http.StatusOK, &View{Data: struct{}{}}); err == nil || recorder.Body.Len() > 0 || len(recorder.Header()) > 0 {
		t.Errorf("%v, and the answer is %v %q", err, recorder.Header(), recorder.Body)
	}
}

func TestFragmentIsOneTemplate(t *testing.T) {
	t.Parallel()
	if text, err := MustPage(hello, nil, "hello.html").Fragment("part", "<you>"); err != nil || text != "<p>&lt;you&gt;</p>" {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestEveryAssetIsServed: the list of types and the folder have the same files.
func TestEveryAssetIsServed(t *testing.T) {
	t.Parallel()
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil || len(files) != len(contentTypes) {
		t.Errorf("%d files and %d types, %v", len(files), len(contentTypes), err)
	}
	for _, file := range files {
		recorder := httptest.NewRecorder()
		if !WriteAsset(recorder, file.Name()) || recorder.Body.Len() == 0 || recorder.Header().Get("Content-Type") == "" {
			t.Errorf("%s is not served", file.Name())
		}
	}
	for _, name := range []string{"", "..", "../page.go", "style.css/", "page.go"} {
		if WriteAsset(httptest.NewRecorder(), name) {
			t.Errorf("%q is served", name)
		}
	}
}
