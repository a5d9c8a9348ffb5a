package alerts

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// pollInterval is how often the alerts are looked at.
	pollInterval = 200 * time.Millisecond
	// awaitTimeout is for the slowest alert, and for a machine that is busy.
	awaitTimeout = 60 * time.Second
)

// watcher sees the alerts of one Prometheus.
type watcher struct {
	name, address string
	client        *http.Client
	// seen is the state of each alert, by its name, as of the last look.
	seen map[string]string
}

// alert is one of Prometheus' API.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

// look logs what has changed.
func (s *staged) look(w *watcher) {
	s.t.Helper()
	now := map[string]string{}
	for _, a := range w.alerts(s) {
		name := a.Labels["alertname"]
		now[name] = a.State
		if w.seen[name] != a.State {
			s.say("  %-8s %-8s %s: %s", w.name, a.State, name, a.Annotations["description"])
		}
		for _, text := range a.Annotations {
			if strings.Contains(text, "error") || strings.Contains(text, "<no value>") || strings.Contains(text, "%!") {
				s.t.Errorf("%s has an annotation that is wrong: %s", name, text)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.seen)) {
		if now[name] == "" {
			s.say("  %-8s %-8s %s", w.name, "ended", name)
		}
	}
	w.seen = now
}

func (w *watcher) alerts(s *staged) []alert {
	s.t.Helper()
	var body struct{ Data struct{ Alerts []alert } }
	w.get(s, "/api/v1/alerts", &body)
	return body.Data.Alerts
}

// evaluates reports whether rules have been evaluated on what was scraped.
func (w *watcher) evaluates(s *staged) bool {
	s.t.Helper()
	return w.results(s, "fleet:keytail_staleness_seconds:max") > 0
}

func (w *watcher) get(s *staged, path string, body any) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+w.address+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(body); err != nil {
		s.t.Fatal(err)
	}
}

// firing are the names of the alerts that fire. pending are those that do not, yet,
// without the one that a busy machine causes.
func (w *watcher) firing() (names, pending []string) {
	for _, name := range slices.Sorted(maps.Keys(w.seen)) {
		if w.seen[name] == "firing" {
			names = append(names, name)
		} else if name != "KeytailSlow" {
			pending = append(pending, name)
		}
	}
	return names, pending
}

// await waits until exactly these alerts fire in both. Those that fired before may end
// meanwhile; any other one is a failure.
func (s *staged) await(want ...string) {
	s.t.Helper()
	before := map[string]bool{}
	for _, w := range s.watchers {
		for name := range w.seen {
			before[name] = true
		}
	}
	deadline := time.Now().Add(awaitTimeout)
	s.poll(func() bool {
		done := true
		for _, w := range s.watchers {
			firing, _ := w.firing()
			for _, name := range firing {
				if !before[name] && !slices.Contains(want, name) {
					s.t.Fatalf("%s fires (%s), and only %v may", name, w.name, want)
				}
			}
			done = done && slices.Equal(firing, want)
		}
		if !done && time.Now().After(deadline) {
			s.t.Fatalf("after %v these fire: %s; want %v", awaitTimeout, s.summary(), want)
		}
		return done
	})
}

// calm waits until no alert is even pending, on rules that have seen a scrape.
func (s *staged) calm() {
	s.t.Helper()
	deadline := time.Now().Add(awaitTimeout)
	s.poll(func() bool {
		done := true
		for _, w := range s.watchers {
			firing, pending := w.firing()
			done = done && w.evaluates(s) && len(firing)+len(pending) == 0
		}
		if !done && time.Now().After(deadline) {
			s.t.Fatalf("after %v there are these alerts: %s", awaitTimeout, s.summary())
		}
		return done
	})
}

// hold fails unless exactly these alerts fire all the time. Without names none may even
// be pending.
func (s *staged) hold(during time.Duration, want ...string) {
	s.t.Helper()
	until := time.Now().Add(during)
	s.poll(func() bool {
		for _, w := range s.watchers {
			firing, pending := w.firing()
			if !slices.Equal(firing, want) || len(want) == 0 && len(pending) > 0 {
				s.t.Fatalf("these fire: %s; want %v", s.summary(), want)
			}
		}
		return time.Now().After(until)
	})
	if len(want) == 0 {
		s.say("  no alert has been pending for %v", during)
	} else {
		s.say("  exactly these fire: %s", strings.Join(want, ", "))
	}
}

// poll looks at the alerts until done.
func (s *staged) poll(done func() bool) {
	s.t.Helper()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		for _, w := range s.watchers {
			s.look(w)
		}
		if done() {
			return
		}
		<-ticker.C
	}
}

func (s *staged) summary() string {
	var all []string
	for _, w := range s.watchers {
		all = append(all, fmt.Sprintf("%s %v", w.name, w.seen))
	}
	return strings.Join(all, ", ")
}
