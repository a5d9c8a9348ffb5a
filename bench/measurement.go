package main

import (
	"context"
	"fmt"
	"time"
)

// measurement measures several programs alternately, each with its own load.
type measurement struct {
	env      *env
	title    string
	duration time.Duration
	names    []string
	runs     []func(context.Context, time.Duration) (*load, error)
	// loads are those of each program, in the order of the rounds.
	loads [][]*load
}

func newMeasurement(e *env, title string) *measurement {
	return &measurement{env: e, title: title, duration: e.duration(2 * time.Second)}
}

// add adds a program. run sends it requests for a time.
func (m *measurement) add(name string, run func(context.Context, time.Duration) (*load, error)) {
	m.names, m.runs, m.loads = append(m.names, name), append(m.runs, run), append(m.loads, nil)
}

// run measures all programs, round after round.
func (m *measurement) run(ctx context.Context) error {
	var sides []func() (float64, error)
	for i, name := range m.names {
		sides = append(sides, func() (float64, error) {
			l, err := m.runs[i](ctx, m.duration)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			m.loads[i] = append(m.loads[i], l)
			m.env.progress("%s: %.0f requests per second, p99 %v", name, l.perSecond, l.quantile(99))
			return l.perSecond, nil
		})
	}
	_, err := alternate(ctx, m.env.size(9, 1), sides...)
	return err
}

// figures returns a figure of a program, in the order of the rounds.
func (m *measurement) figures(name string, figure func(*load) float64) []float64 {
	var all []float64
	for i := range m.names {
		if m.names[i] != name {
			continue
		}
		for _, l := range m.loads[i] {
			all = append(all, figure(l))
		}
	}
	return all
}

// rates are the ratios of one program's requests per second to another's.
func (m *measurement) rates(name, to string) ratios {
	perSecond := func(l *load) float64 { return l.perSecond }
	return ratiosOf(m.figures(name, perSecond), m.figures(to, perSecond))
}

// p99s are the ratios of one program's p99 latency to another's.
func (m *measurement) p99s(name, to string) ratios {
	p99 := func(l *load) float64 { return float64(l.quantile(99)) }
	return ratiosOf(m.figures(name, p99), m.figures(to, p99))
}

// compare adds the goals for keytail's requests per second and p99 latency, relative to
// another program.
func (m *measurement) compare(r *result, with string, rate, p99 float64) {
	r.goal(m.rates(sideKeytail, with).goal(requestsRelativeTo(with), ">=", rate))
	r.goal(m.p99s(sideKeytail, with).goal("p99 latency, relative to the "+with, "<=", p99))
}

func (m *measurement) table() table {
	return loadTable(fmt.Sprintf("%s; medians of %d rounds of %v", m.title, len(m.loads[0]), m.duration), m.names, m.loads)
}

// loadTable is a table of the medians of each program's loads.
func loadTable(title string, names []string, loads [][]*load) table {
	t := table{Title: title, Head: []string{"", "requests per second", "p50", "p99", "p99.9", "CPU per request"}}
	for i, name := range names {
		cells := []string{name}
		for _, figure := range []func(*load) float64{
			func(l *load) float64 { return l.perSecond },
			func(l *load) float64 { return float64(l.quantile(50)) },
			func(l *load) float64 { return float64(l.quantile(99)) },
			func(l *load) float64 { return float64(l.quantile(99.9)) },
			func(l *load) float64 { return float64(l.cpu) },
		} {
			var all []float64
			for _, l := range loads[i] {
				all = append(all, figure(l))
			}
			if len(cells) == 1 {
				cells = append(cells, fmt.Sprintf("%.0f", median(all)))
				continue
			}
			cells = append(cells, time.Duration(median(all)).Round(100*time.Nanosecond).String())
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}
