package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// variables of the dashboard, as Grafana fills them in.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")

// dashboardQueries checks the structure of the dashboard on the way.
func dashboardQueries(t *testing.T) (all []expression) {
	t.Helper()
	plugins.RegisterDefaultPlugins() // so that the schema knows the panels
	type panel struct {
		ID          int
		Title, Type string
		GridPos     struct{ X, Y, W, H int }
		Datasource  struct{ Type, UID string }
		Targets     []struct{ Expr string }
	}
	var board struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	content := installed(t, "dashboards/keytail.json")
	if err := json.Unmarshal(content, &board); err != nil {
		t.Fatal(err)
	}
	// Not nil, but without a text, if the schema has nothing against it.
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(content); err != nil && err.Error() != "" {
		t.Errorf("Grafana's schema of dashboards: %v", err)
	}
	var names []string
	for _, v := range board.Templating.List {
		names = append(names, v.Name)
		if query, found := strings.CutPrefix(v.Query, "label_values("); found {
			query, _, _ = cutLast(query, ",")
			all = append(all, expression{"variable " + v.Name, variables.Replace(query)})
		}
	}
	if !slices.Equal(names, []string{"datasource", "job", "instance"}) || board.UID == "" || board.Title == "" {
		t.Errorf("the dashboard %q (%q) has the variables %q", board.Title, board.UID, names)
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if p.ID == 0 || ids[p.ID] {
			t.Errorf("%q has the id %d, which is not its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		at := [2]int{p.GridPos.X, p.GridPos.Y}
		if other, twice := taken[at]; twice {
			t.Errorf("%q and %q are at the same place %v", p.Title, other, at)
		}
		taken[at] = p.Title
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%q has %d queries to %q", p.Title, len(p.Targets), p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%q does not follow the variables: %s", p.Title, target.Expr)
			}
			all = append(all, expression{"dashboard, " + p.Title, variables.Replace(target.Expr)})
		}
	}
	return all
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
