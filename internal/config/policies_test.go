package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPolicies(t *testing.T) {
	c, _ := mustLoad(t, "--config", yamlFile(t,
		"policies:", "  orders:", "    scopes: [orders:read, orders:list]", "    org_id: acme", "    project_id: '7'", "  anyone: {}",
		"  platform: {require_org: true, require_project: false}", "  live: {require_project: true}"))
	want := map[string]Policy{
		"orders": {Scopes: []string{"orders:read", "orders:list"}, OrgID: "acme", ProjectID: "7"}, "anyone": {},
		"platform": {RequireOrg: true}, "live": {RequireProject: true},
	}
	if diff := cmp.Diff(want, c.Policies); diff != "" {
		t.Error(diff)
	}
}

func TestWrongPoliciesAreRefusedWithTheirLine(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		want  []string
	}{
		"twice":          {[]string{"policies:", "  a: {}", "  b: {}", "  a: {scopes: [x]}"}, []string{`line 4: "a" is repeated; it is already in line 2`}},
		"all twice":      {[]string{"policies: {}", "policies: {}"}, []string{`line 2: the key "policies" is repeated`}},
		"unknown key":    {[]string{"policies:", "  a:", "    scope: [x]"}, []string{`line 3: the policy a has an unknown key "scope"`}},
		"key twice":      {[]string{"policies:", "  a:", "    org_id: x", "    org_id: y"}, []string{`line 4: "org_id" is repeated; it is already in line 3`}},
		"name":           {[]string{"policies:", "  a/b: {}"}, []string{"line 2: the name of a policy must have 1 to 64"}},
		"dots":           {[]string{"policies:", "  ..: {}"}, []string{"not only dots"}},
		"long name":      {[]string{"policies:", "  " + strings.Repeat("a", 65) + ": {}"}, []string{"line 2: the name of a policy"}},
		"number":         {[]string{"policies:", "  7: {}"}, []string{"line 2: a key must be plain text; put it in quotes"}},
		"no value":       {[]string{"policies:", "  a:"}, []string{"line 2: the policy a must be a mapping"}},
		"no policies":    {[]string{"policies:"}, []string{"line 1: policies must be a mapping"}},
		"list":           {[]string{"policies: [a]"}, []string{"line 1: policies must be a mapping"}},
		"scopes as text": {[]string{"policies: {a: {scopes: x}}"}, []string{"the policy a: scopes must be a list"}},
		"no scopes":      {[]string{"policies: {a: {scopes: []}}"}, []string{"omit it if none is required"}},
		"bad scope":      {[]string{"policies:", "  a:", "    scopes:", "      - x", "      - x y"}, []string{"line 5: the policy a: a scope has no white space"}},
		"scope twice":    {[]string{"policies: {a: {scopes: [x, x]}}"}, []string{`the policy a repeats the scope "x"`}},
		"scope number":   {[]string{"policies: {a: {scopes: [7]}}"}, []string{"a scope must be a string; put it in quotes"}},
		"id number":      {[]string{"policies: {a: {org_id: 7}}"}, []string{"the policy a: org_id must be a string; put it in quotes"}},
		"empty id":       {[]string{"policies: {a: {project_id: ''}}"}, []string{"the policy a: project_id "}},
		"bool as text":   {[]string{"policies: {a: {require_org: 'true'}}"}, []string{"the policy a: require_org must be true or false, without quotes"}},
		"bool number":    {[]string{"policies:", "  a:", "    require_project: 1"}, []string{"line 3: the policy a: require_project must be true or false"}},
		"bool in yes":    {[]string{"policies: {a: {require_org: yes}}"}, []string{"the policy a: require_org must be true or false"}},
		"bool list":      {[]string{"policies: {a: {require_org: [true]}}"}, []string{"the policy a: require_org must be true or false"}},
		"no bool":        {[]string{"policies: {a: {require_org: }}"}, []string{"the policy a: require_org must be true or false"}},
		"bool twice":     {[]string{"policies:", "  a:", "    require_org: true", "    require_org: false"}, []string{`line 4: "require_org" is repeated`}},
		"misspelt bool":  {[]string{"policies: {a: {require_orgs: true}}"}, []string{`the policy a has an unknown key "require_orgs"; allowed are scopes, org_id, project_id, require_org and require_project`}},
		"merge":          {[]string{"policies: {a: {<<: {scopes: [x]}}}"}, []string{"a key must be plain text"}},
		"alias":          {[]string{"policies: {a: &x {scopes: [x]}, b: *x}"}, []string{"the policy b must be a mapping"}},
		"two mistakes":   {[]string{"policies:", "  a: {org: x}", "  b: {org: x}"}, []string{"line 2: the policy a", "line 3: the policy b"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, "--config", yamlFile(t, test.lines...))
			wantAll(t, err, test.want...)
		})
	}
}

func TestPasswordIsEscaped(t *testing.T) {
	uri := WithPassword("mongodb://keytail@db1,db2/app?replicaSet=rs0", "a@b:c/d %?+")
	if want := "mongodb://keytail:a%40b%3Ac%2Fd%20%25%3F%2B@db1,db2/app?replicaSet=rs0"; uri != want {
		t.Errorf("%s, want %s", uri, want)
	}
	if err := checkURI(uri); err != nil {
		t.Error(err)
	}
}
