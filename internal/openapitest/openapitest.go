// Package openapitest checks HTTP requests and responses against the OpenAPI document
// of package api. It is for tests.
package openapitest

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"

	"github.com/keytail/keytail/api"
)

// Document is the parsed document. It is safe for concurrent use.
type Document struct {
	model     libopenapi.Document
	validator validator.Validator
	mutex     sync.Mutex
}

// Load parses the document, and fails the test if it is not valid OpenAPI 3.1.
func Load(t testing.TB) *Document {
	t.Helper()
	model, err := libopenapi.NewDocument(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(model)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if version := model.GetSpecInfo().Version; !strings.HasPrefix(version, "3.1") {
		t.Errorf("the document has version %s, want 3.1", version)
	}
	if ok, problems := v.ValidateDocument(); !ok {
		t.Error(describe(problems))
	}
	return &Document{model: model, validator: v}
}

// Operations returns the operations with a tag, such as "GET /v1/keys/{id}", sorted.
func (d *Document) Operations(t testing.TB, tag string) []string {
	t.Helper()
	model, err := d.model.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			if slices.Contains(operation.Tags, tag) {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Response returns what is wrong with a response according to the document, or nil.
func (d *Document) Response(request *http.Request, response *http.Response, body []byte) []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	response.Body = io.NopCloser(bytes.NewReader(body))
	_, problems := d.validator.ValidateHttpResponse(request, response)
	return describe(problems)
}

// Request returns what is wrong with a request according to the document, or nil.
func (d *Document) Request(request *http.Request, body []byte) []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	request.Body = io.NopCloser(bytes.NewReader(body))
	_, problems := d.validator.ValidateHttpRequest(request)
	return describe(problems)
}

func describe(problems []*errors.ValidationError) []string {
	var texts []string
	for _, p := range problems {
		text := p.Message + ": " + p.Reason
		for _, detail := range p.SchemaValidationErrors {
			text += "; " + detail.FieldPath + ": " + detail.Reason
		}
		texts = append(texts, text)
	}
	return texts
}
