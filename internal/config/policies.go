package config

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/apikey"
)

// policiesKey is the key of the file that is not a flag.
const policiesKey = "policies"

// policyName is unreserved in a URL.
var policyName = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// readPolicies reads a mapping of names to policies. Each mistake has its line: a
// misread policy allows requests that it should not.
func (r *fileReader) readPolicies(node *yaml.Node) {
	r.policies = map[string]Policy{}
	r.fields(node, "policies must be a mapping of names, such as {orders: {scopes: [orders:read]}}", func(name, value *yaml.Node) {
		if !policyName.MatchString(name.Value) || strings.Trim(name.Value, ".") == "" {
			r.problem(name.Line, "the name of a policy must have 1 to 64 letters, digits or the characters . _ ~ -, and not only dots")
			return
		}
		r.policies[name.Value] = r.readPolicy(name.Value, value)
	})
}

// fields calls use for each entry of a mapping whose keys are distinct strings.
func (r *fileReader) fields(node *yaml.Node, must string, use func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		r.problem(node.Line, "%s", must)
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		switch first, again := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			r.problem(key.Line, "a key must be plain text; put it in quotes")
		case again:
			r.problem(key.Line, "%q is repeated; it is already in line %d", key.Value, first)
		default:
			lines[key.Value] = key.Line
			use(key, node.Content[i+1])
		}
	}
}

func (r *fileReader) readPolicy(name string, node *yaml.Node) Policy {
	var policy Policy
	r.fields(node, "the policy "+name+" must be a mapping with scopes, org_id, project_id, require_org and require_project, or {} for any valid key", func(key, value *yaml.Node) {
		var err error
		switch key.Value {
		case "scopes":
			policy.Scopes = r.readScopes(name, value)
		case "org_id":
			policy.OrgID, err = readID(value)
		case "project_id":
			policy.ProjectID, err = readID(value)
		case "require_org":
			policy.RequireOrg, err = readBool(value)
		case "require_project":
			policy.RequireProject, err = readBool(value)
		default:
			r.problem(key.Line, "the policy %s has an unknown key %q; allowed are scopes, org_id, project_id, require_org and require_project", name, key.Value)
		}
		if err != nil {
			r.problem(value.Line, "the policy %s: %s %v", name, key.Value, err)
		}
	})
	return policy
}

func (r *fileReader) readScopes(name string, list *yaml.Node) []string {
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		r.problem(list.Line, "the policy %s: scopes must be a list of strings, such as [orders:read]; omit it if none is required", name)
		return nil
	}
	seen := map[string]bool{}
	var scopes []string
	for _, item := range list.Content {
		err := apikey.ValidScope(item.Value)
		switch {
		case item.Kind != yaml.ScalarNode || item.Tag != "!!str":
			r.problem(item.Line, "the policy %s: a scope must be a string; put it in quotes", name)
		case err != nil:
			r.problem(item.Line, "the policy %s: %v", name, err)
		case seen[item.Value]:
			r.problem(item.Line, "the policy %s repeats the scope %q", name, item.Value)
		}
		seen[item.Value] = true
		scopes = append(scopes, item.Value)
	}
	return scopes
}

func readID(node *yaml.Node) (string, error) {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" {
		return "", errors.New("must be a string; put it in quotes")
	}
	return node.Value, apikey.ValidID(node.Value)
}

func readBool(node *yaml.Node) (bool, error) {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" || node.Value != "true" && node.Value != "false" {
		return false, errors.New("must be true or false, without quotes")
	}
	return node.Value == "true", nil
}
