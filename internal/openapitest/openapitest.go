// Package openapitest holds HTTP exchanges against the OpenAPI document of package
// api. It is for tests.
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

// Load parses the document, and fails the test if it is no OpenAPI 3.1.
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
		t.Errorf("the document is of version %s", version)
	}
	if ok, problems := v.ValidateDocument(); !ok {
		t.Error(describe(problems))
	}
	return &Document{model: model, validator: v}
}

// Operations are the document's, as "GET /v1/keys/{id}", of one tag.
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

// Response says what of an answer is not in the document; nil: nothing.
func (d *Document) Response(request *http.Request, response *http.Response, body []byte) []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	response.Body = io.NopCloser(bytes.NewReader(body))
	_, problems := d.validator.ValidateHttpResponse(request, response)
	return describe(problems)
}

// Request says what of a request is not in the document; nil: nothing.
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
