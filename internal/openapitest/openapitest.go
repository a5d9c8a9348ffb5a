// Package openapitest compares HTTP exchanges and JSON bodies with the OpenAPI
// document of package api, in tests.
package openapitest

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"

	"github.com/keytail/keytail/api"
)

// Document is the parsed document. It is safe for concurrent use.
type Document struct {
	model     libopenapi.Document
	validator validator.Validator
	mutex     sync.Mutex
}

// objects finds the beginning of each component that is an object. parts are those that
// others are made of, which have more properties.
var (
	objects = regexp.MustCompile(`(?m)^    (\w+):\n      type: object\n`)
	parts   = []string{"Key", "SyncResult", "Readiness", "StatusDetails"}
)

// closed is the document without its promise that responses may get new fields: in a
// test, a field that is not in the document is a mistake.
func closed(document []byte) []byte {
	return objects.ReplaceAllFunc(document, func(beginning []byte) []byte {
		if name := string(objects.FindSubmatch(beginning)[1]); slices.Contains(parts, name) {
			return beginning
		}
		return append(bytes.Clone(beginning), "      unevaluatedProperties: false\n"...)
	})
}

// Load parses the document, and fails the test if it is not OpenAPI 3.1. Its objects
// exclude other fields than the document has.
func Load(t testing.TB) *Document {
	t.Helper()
	model, err := libopenapi.NewDocument(closed(api.OpenAPI))
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

// Operations are the operations with a tag, as "GET /v1/keys/{id}".
func (d *Document) Operations(t testing.TB, tag string) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(d.OperationIDs(t, tag)))
}

// OperationIDs maps the operations with a tag, as Operations has them, to their
// operationId.
func (d *Document) OperationIDs(t testing.TB, tag string) map[string]string {
	t.Helper()
	model, err := d.model.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			if slices.Contains(operation.Tags, tag) {
				all[strings.ToUpper(method)+" "+path] = operation.OperationId
			}
		}
	}
	return all
}

// Statuses maps each path to the statuses of its operations, sorted.
func (d *Document) Statuses(t testing.TB) map[string][]int {
	t.Helper()
	model, err := d.model.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]int{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for operation := range item.GetOperations().ValuesFromOldest() {
			for code := range operation.Responses.Codes.KeysFromOldest() {
				status, err := strconv.Atoi(code)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				all[path] = append(all[path], status)
			}
		}
		slices.Sort(all[path])
		all[path] = slices.Compact(all[path])
	}
	return all
}

// Schema is the component with this name.
func (d *Document) Schema(t testing.TB, name string) *base.Schema {
	t.Helper()
	model, err := d.model.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	proxy, found := model.Model.Components.Schemas.Get(name)
	if !found {
		t.Fatalf("the document has no schema %s", name)
	}
	return proxy.Schema()
}

// Schemas are the names of all components that are objects.
func (d *Document) Schemas(t testing.TB) []string {
	t.Helper()
	model, err := d.model.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, proxy := range model.Model.Components.Schemas.FromOldest() {
		if len(Properties(proxy.Schema())) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Properties maps the name of each property of a schema, and of those that it
// combines by allOf, to whether it is required.
func Properties(schema *base.Schema) map[string]bool {
	all := map[string]bool{}
	for _, part := range schema.AllOf {
		maps.Copy(all, Properties(part.Schema()))
	}
	if schema.Properties != nil {
		for name := range schema.Properties.KeysFromOldest() {
			all[name] = slices.Contains(schema.Required, name)
		}
	}
	return all
}

// Body returns how a JSON text differs from a schema. Nil: it does not.
func (d *Document) Body(schema *base.Schema, text []byte) []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	_, problems := schema_validation.NewSchemaValidator().ValidateSchemaBytes(schema, text)
	return describe(problems)
}

// Response returns how a response differs from the document. Nil: it does not.
func (d *Document) Response(request *http.Request, response *http.Response, body []byte) []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	response.Body = io.NopCloser(bytes.NewReader(body))
	_, problems := d.validator.ValidateHttpResponse(request, response)
	return describe(problems)
}

// Request returns how a request differs from the document. Nil: it does not.
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
