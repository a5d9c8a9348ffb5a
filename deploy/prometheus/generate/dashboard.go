package main

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The size of panels: two in a row of Grafana's 24 columns.
const (
	panelWidth  = 12
	panelHeight = 8
)

// panel is one panel of the dashboard.
type panel struct {
	title, description, unit string
	// kind is timeseries if it is empty.
	kind    kind
	queries []query
}

type kind string

const (
	kindStates  kind = "states"
	kindHeatmap kind = "heatmap"
)

// query is a PromQL expression. In it § stands for the matchers of the variables.
type query struct{ expr, legend string }

// selected are the matchers of the variables.
const selected = `job=~"$job",instance=~"$instance"`

// renderDashboard renders dashboards/keytail.json.
func renderDashboard() ([]byte, error) {
	board := dashboard.NewDashboardBuilder("keytail"). //nolint:staticcheck // every Grafana imports this form, and only recent ones the newer
								Uid("keytail").
								Description("State, answers, change stream and resources of keytail. Made by deploy/prometheus/generate.").
								Tags([]string{"keytail"}).
								Time("now-1h", "now").
								Refresh("30s").
								Tooltip(dashboard.DashboardCursorSyncCrosshair).
								Link(dashboard.NewDashboardLinkBuilder("Runbook").Type(dashboard.DashboardLinkTypeLink).
									Url("https://github.com/keytail/keytail/blob/main/docs/runbook.md").TargetBlank(true)).
								WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
								WithVariable(variable("job", `label_values(keytail_build_info, job)`)).
								WithVariable(variable("instance", `label_values(keytail_build_info{job=~"$job"}, instance)`))
	id := uint32(0)
	next := func() uint32 { id++; return id }
	for _, row := range rows {
		board.WithRow(dashboard.NewRowBuilder(row.title).Id(next()))
		for _, p := range row.panels {
			board.WithPanel(p.build(next()))
		}
	}
	built, err := board.Build()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // so that expressions can be read
	encoder.SetIndent("", "  ")
	err = encoder.Encode(built)
	return text.Bytes(), err
}

// variable lists the values of a label, all of which are selected at first.
func variable(name, definition string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).
		Label(name).
		Datasource(source()).
		Query(dashboard.StringOrMap{String: &definition}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*")
}

// source is the data source that the variable names.
func source() common.DataSourceRef {
	kind, uid := "prometheus", "${datasource}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

func (p *panel) build(id uint32) cog.Builder[dashboard.Panel] {
	tooltip := common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)
	switch p.kind {
	case kindStates:
		return statetimeline.NewPanelBuilder().Id(id).Tooltip(tooltip).Title(p.title).Description(p.description).Span(panelWidth).Height(panelHeight).
			Datasource(source()).Targets(p.targets()).Mappings(stateMappings()).ShowValue(common.VisibilityModeNever)
	case kindHeatmap:
		return heatmap.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Span(panelWidth).Height(panelHeight).
			Datasource(source()).Targets(p.targets()).YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit))
	default:
		legend := common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)
		return timeseries.NewPanelBuilder().Id(id).Tooltip(tooltip).Legend(legend).Title(p.title).Description(p.description).Span(panelWidth).Height(panelHeight).
			Datasource(source()).Targets(p.targets()).Unit(p.unit).FillOpacity(10).Min(0)
	}
}

func (p *panel) targets() []cog.Builder[variants.Dataquery] {
	var all []cog.Builder[variants.Dataquery]
	for i, q := range p.queries {
		target := prometheus.NewDataqueryBuilder().
			Expr(strings.ReplaceAll(q.expr, "§", selected)).
			LegendFormat(q.legend).
			RefId(string(rune('A' + i)))
		if p.kind == kindHeatmap {
			target.Format(prometheus.PromQueryFormatHeatmap)
		}
		all = append(all, target)
	}
	return all
}

// states are those of keytail_state, in the order of their numbers from 1.
var states = []struct{ name, color string }{
	{"live", "green"}, {"preloading", "blue"}, {"connecting", "purple"}, {"stale", "orange"}, {"down", "red"},
}

// stateMappings show a number as the state.
func stateMappings() []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, s := range states {
		index := int32(i)
		options[string(rune('1'+i))] = dashboard.ValueMappingResult{Text: &s.name, Color: &s.color, Index: &index}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}
