package openapitest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/keytail/keytail/api"
)

func TestClientsCanBeGeneratedFromTheDocument(t *testing.T) {
	problems, err := Conventions(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

// TestBrokenConventionsAreReported breaks one rule of the document at a time.
func TestBrokenConventionsAreReported(t *testing.T) {
	for name, c := range map[string]struct{ old, replacement, want string }{
		"no operationId":         {"      operationId: listAudit\n", "", `GET /v1/audit: the operationId is ""`},
		"snake case":             {"operationId: listAudit", "operationId: list_audit", `GET /v1/audit: the operationId is "list_audit"`},
		"the same operationId":   {"operationId: listAudit", "operationId: createKey", "GET /v1/audit: POST /v1/keys has the operationId createKey already"},
		"an unknown tag":         {"operationId: listAudit\n      tags: [admin]", "operationId: listAudit\n      tags: [audit]", `GET /v1/audit: its tags are ["audit"]`},
		"no tag":                 {"operationId: listAudit\n      tags: [admin]", "operationId: listAudit", "GET /v1/audit: its tags are []"},
		"no summary":             {"      summary: One key.\n", "", "GET /v1/keys/{id}: it has no summary"},
		"no 401":                 {"        \"401\": *unauthenticated\n        \"403\": *notPermitted\n        \"404\": *problem\n        \"409\"", "        \"403\": *notPermitted\n        \"404\": *problem\n        \"409\"", "POST /v1/keys/revoke-leaked: it has no response 401"},
		"no 403":                 {"        \"403\": *notPermitted\n        \"404\": *problem\n        \"409\"", "        \"404\": *problem\n        \"409\"", "POST /v1/keys/revoke-leaked: it has no response 403"},
		"no 413":                 {"\"413\": {$ref: \"#/components/responses/Problem\"}\n", "\"418\": {$ref: \"#/components/responses/Problem\"}\n", "POST /v1/keys/verify: it has no response 413"},
		"no 404":                 {"        \"404\": *problem\n        \"503\"", "        \"503\"", "GET /v1/keys/{id}: it has no response 404"},
		"an anonymous request":   {`schema: {$ref: "#/components/schemas/RotateRequest"}`, "schema: {type: object}", "POST /v1/keys/{id}/rotate: the request has a body without a name"},
		"an anonymous response":  {`schema: {$ref: "#/components/schemas/AuditList"}`, "schema: {type: object}", "GET /v1/audit: the response 200 has a body without a name"},
		"an error of its own":    {`content: {application/problem+json: {schema: {$ref: "#/components/schemas/Problem"}}}}`, `content: {application/json: {schema: {$ref: "#/components/schemas/Loss"}}}}`, "GET /v1/audit: the response 400 is no Problem"},
		"an anonymous parameter": {`schema: {$ref: "#/components/schemas/WaitFor"}`, "schema: {enum: [instance]}", "GET /v1/sync: scope is an object or an enumeration without a name"},
		"an anonymous property":  {`metadata: {$ref: "#/components/schemas/Metadata"}`, "metadata: {type: object}", "Verdict: metadata is an object or an enumeration without a name"},
		"an anonymous choice":    {`{oneOf: [{$ref: "#/components/schemas/Metadata"}, {type: "null"}]}`, `{oneOf: [{type: object}, {type: "null"}]}`, "CreateKeyRequest: a choice is an object"},
		"an anonymous item":      {`items: {$ref: "#/components/schemas/AuditEntry"}`, "items: {type: object}", "AuditList: an item is an object"},
		"a parameter's default":  {"maximum: 500}", "maximum: 500, default: 50}", "GET /v1/keys: limit has a default"},
		"a property's default":   {"overlap_seconds: {type: integer,", "overlap_seconds: {type: integer, default: 0,", "RotateRequest: overlap_seconds has a default"},
		"a response's values":    {`    AuditAction: {type: string,`, `    AuditAction: {type: string, enum: [create],`, "AuditAction: it has an enumeration"},
		"a closed response":      {"    Loss:\n      type: object\n", "    Loss:\n      type: object\n      unevaluatedProperties: false\n", "Loss: it excludes other properties"},
		"a closed response, too": {"    Loss:\n      type: object\n", "    Loss:\n      type: object\n      additionalProperties: false\n", "Loss: it excludes other properties"},
		"one part in allOf":      {`        - {type: object, required: [key], properties:`, "      x-part:\n        - {type: object, required: [key], properties:", "NewKey: its allOf has 1 parts"},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(api.OpenAPI, []byte(c.old)) {
				t.Fatalf("the document does not have %q", c.old)
			}
			problems, err := Conventions(bytes.Replace(api.OpenAPI, []byte(c.old), []byte(c.replacement), 1))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(problems, func(problem string) bool { return strings.HasPrefix(problem, c.want) }) {
				t.Errorf("got %q, want %q", problems, c.want)
			}
		})
	}
}
