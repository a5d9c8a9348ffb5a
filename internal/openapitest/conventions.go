package openapitest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// Conventions returns where a document breaks the rules that generators of clients
// need, one sentence each. Nil: nowhere.
//
//   - An operation has a unique operationId in camel case, a tag that the document
//     declares, a summary, and responses for the errors that its inputs allow.
//   - The JSON body of a request or response is a reference to a component. That of an
//     error is a Problem of the type application/problem+json, or that of status 200.
//   - An object or enumeration within another schema is a reference. A generator
//     names an anonymous one after its parent; openapi-python-client drops all
//     schemas that share the name.
//   - A schema with allOf has no properties beside it, and at least two parts:
//     openapi-python-client takes the only part for the whole, without a warning.
//   - A schema that no request has is open: it has no enumeration, and no object
//     excludes other properties. Responses may get new values and fields in any
//     release, and an older client must not fail at them.
//   - No schema has a default: openapi-python-client sends it in every request, also
//     where an operation refuses it, and to a keytail that does not know the field yet.
func Conventions(document []byte) ([]string, error) {
	parsed, err := libopenapi.NewDocument(document)
	if err != nil {
		return nil, err
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		return nil, err
	}
	c := &conventions{ids: map[string]string{}, requests: map[string]bool{}}
	for _, tag := range model.Model.Tags {
		c.tags = append(c.tags, tag.Name)
	}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			c.where = strings.ToUpper(method) + " " + path
			c.operation(operation, append(slices.Clone(item.Parameters), operation.Parameters...))
		}
	}
	for name, proxy := range model.Model.Components.Schemas.FromOldest() {
		c.where = name
		c.parts(proxy.Schema())
		if !c.requests["#/components/schemas/"+name] {
			c.open(proxy.Schema())
		}
	}
	return c.found, nil
}

// conventions collects what it finds in the operation or component at where.
type conventions struct {
	tags  []string
	where string
	// ids maps the operationId to its operation.
	ids map[string]string
	// requests are the references of schemas in requests.
	requests map[string]bool
	found    []string
}

func (c *conventions) report(format string, args ...any) {
	c.found = append(c.found, c.where+": "+fmt.Sprintf(format, args...))
}

var camelCase = regexp.MustCompile(`^[a-z]+([A-Z][a-z0-9]*)*$`)

func (c *conventions) operation(o *v3.Operation, parameters []*v3.Parameter) {
	if !camelCase.MatchString(o.OperationId) {
		c.report("the operationId is %q, want one in camel case, such as verifyKey", o.OperationId)
	} else if other, taken := c.ids[o.OperationId]; taken {
		c.report("%s has the operationId %s already", other, o.OperationId)
	}
	c.ids[o.OperationId] = c.where
	if len(o.Tags) == 0 || slices.ContainsFunc(o.Tags, func(tag string) bool { return !slices.Contains(c.tags, tag) }) {
		c.report("its tags are %q, want at least one, each of %q", o.Tags, c.tags)
	}
	if o.Summary == "" {
		c.report("it has no summary")
	}
	for _, p := range parameters {
		c.nested(p.Name, p.Schema)
		c.requested(p.Schema)
	}
	for _, status := range errorStatuses(o, parameters) {
		if _, found := o.Responses.Codes.Get(status); !found {
			c.report("it has no response %s, which its inputs allow", status)
		}
	}
	c.bodies(o)
}

// errorStatuses are the statuses of the errors that an operation's inputs allow.
func errorStatuses(o *v3.Operation, parameters []*v3.Parameter) []string {
	var statuses []string
	if slices.ContainsFunc(o.Security, func(r *base.SecurityRequirement) bool { _, token := r.Requirements.Get("token"); return token }) || o.Security == nil {
		statuses = append(statuses, "401")
		if slices.Contains(o.Tags, "admin") {
			statuses = append(statuses, "403")
		}
	}
	if o.RequestBody != nil {
		statuses = append(statuses, "413", "415")
	}
	if o.RequestBody != nil || slices.ContainsFunc(parameters, func(p *v3.Parameter) bool { return p.In != "path" }) {
		statuses = append(statuses, "400")
	}
	if slices.ContainsFunc(parameters, func(p *v3.Parameter) bool { return p.In == "path" }) {
		statuses = append(statuses, "404")
	}
	return statuses
}

func (c *conventions) bodies(o *v3.Operation) {
	if o.RequestBody != nil {
		for kind, media := range o.RequestBody.Content.FromOldest() {
			c.body("the request", kind, media)
			c.requested(media.Schema)
		}
	}
	success := ""
	for status, response := range o.Responses.Codes.FromOldest() {
		for kind, media := range response.Content.FromOldest() {
			c.body("the response "+status, kind, media)
			if status < "400" {
				success = media.Schema.GetReference()
			} else if problem := kind == "application/problem+json" && media.Schema.GetReference() == "#/components/schemas/Problem"; !problem && media.Schema.GetReference() != success {
				c.report("the response %s is no Problem", status)
			}
		}
	}
}

func (c *conventions) body(which, kind string, media *v3.MediaType) {
	if strings.HasSuffix(kind, "json") && !media.Schema.IsReference() {
		c.report("%s has a body without a name, want a reference to a component", which)
	}
}

// nested checks a schema within another one, or that of a parameter.
func (c *conventions) nested(name string, proxy *base.SchemaProxy) {
	if proxy == nil || proxy.IsReference() {
		return
	}
	schema := proxy.Schema()
	if schema.Default != nil {
		c.report("%s has a default, want it in the description", name)
	}
	if slices.Contains(schema.Type, "object") || len(schema.Enum) > 0 || len(schema.AllOf) > 0 {
		c.report("%s is an object or an enumeration without a name, want a reference to a component", name)
	}
	c.parts(schema)
}

// requested notes the schemas of a request.
func (c *conventions) requested(proxy *base.SchemaProxy) {
	if proxy == nil || c.requests[proxy.GetReference()] {
		return
	}
	if proxy.IsReference() {
		c.requests[proxy.GetReference()] = true
	}
	schema := proxy.Schema()
	if schema.Properties != nil {
		for property := range schema.Properties.ValuesFromOldest() {
			c.requested(property)
		}
	}
	if schema.Items != nil && schema.Items.IsA() {
		c.requested(schema.Items.A)
	}
	for _, part := range slices.Concat(schema.AllOf, schema.OneOf, schema.AnyOf) {
		c.requested(part)
	}
}

// open checks that a schema of responses is open.
func (c *conventions) open(schema *base.Schema) {
	if len(schema.Enum) > 0 {
		c.report("it has an enumeration, want the values in the description: a response may have new ones")
	}
	if excludes(schema.AdditionalProperties) || excludes(schema.UnevaluatedProperties) {
		c.report("it excludes other properties: a response may have new ones")
	}
}

func excludes(others *base.DynamicValue[*base.SchemaProxy, bool]) bool {
	return others != nil && others.IsB() && !others.B
}

// parts checks the schemas that a schema consists of.
func (c *conventions) parts(schema *base.Schema) {
	if n := len(schema.AllOf); n == 1 || n > 0 && schema.Properties != nil {
		c.report("its allOf has %d parts, and properties may stand beside it: put them into a part of their own", n)
	}
	for _, part := range schema.AllOf {
		if !part.IsReference() {
			c.parts(part.Schema())
		}
	}
	if schema.Properties != nil {
		for name, property := range schema.Properties.FromOldest() {
			c.nested(name, property)
		}
	}
	if schema.Items != nil && schema.Items.IsA() {
		c.nested("an item", schema.Items.A)
	}
	for _, choice := range slices.Concat(schema.OneOf, schema.AnyOf) {
		c.nested("a choice", choice)
	}
}
