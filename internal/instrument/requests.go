package instrument

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestBuckets range from more than an answer of the cache takes, over the
// deadlines of a read (2 s) and of a wait (5 s), to the longest time for a response
// (20 s). They are few, because each is a series for every route and status.
var requestBuckets = []float64{.0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5, 20}

// Requests measures the requests of all listeners. It is safe for concurrent use.
// Nil measures nothing.
type Requests struct {
	durations *prometheus.HistogramVec
	inFlight  inFlight
}

// NewRequests makes Requests without a route. A nil registerer registers nothing.
func NewRequests(registerer prometheus.Registerer) (*Requests, error) {
	r := &Requests{
		durations: prometheus.NewHistogramVec(Histogram("keytail_request_duration_seconds",
			"How long requests took until the response was complete, by route and by HTTP status. gRPC: by the status for the client. A stream of events is not in it.",
			requestBuckets), []string{"route", "code"}),
		inFlight: inFlight{routes: map[string]*Striped{}},
	}
	return r, Register(registerer, r.durations, &r.inFlight)
}

// inFlight collects the requests in flight.
type inFlight struct {
	mutex  sync.Mutex
	routes map[string]*Striped
}

var inFlightDesc = prometheus.NewDesc("keytail_requests_in_flight", "Requests whose response is not complete, by route.", []string{"route"}, nil)

func (f *inFlight) route(name string) *Striped {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.routes[name] == nil {
		f.routes[name] = &Striped{}
	}
	return f.routes[name]
}

// Describe implements prometheus.Collector.
func (f *inFlight) Describe(to chan<- *prometheus.Desc) { to <- inFlightDesc }

// Collect implements prometheus.Collector.
func (f *inFlight) Collect(to chan<- prometheus.Metric) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for name, n := range f.routes {
		to <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, n.Value(), name)
	}
}

// Route makes the series of a route. statuses are all that it can answer with; two
// listeners may have the same route.
func (r *Requests) Route(name string, statuses ...int) *Route {
	if r == nil {
		return nil
	}
	route := &Route{name: name, all: r, inFlight: r.inFlight.route(name), durations: map[int]prometheus.Observer{}}
	for _, status := range statuses {
		route.durations[status] = r.duration(name, status)
	}
	return route
}

// Stream is Route for a response that lasts until the client leaves, if its status
// is 200: how long is the client's choice, so it is not measured.
func (r *Requests) Stream(name string, statuses ...int) *Route {
	route := r.Route(name, slices.DeleteFunc(slices.Clone(statuses), func(status int) bool { return status == http.StatusOK })...)
	if route != nil {
		route.stream = true
	}
	return route
}

func (r *Requests) duration(route string, status int) prometheus.Observer {
	return r.durations.WithLabelValues(route, strconv.Itoa(status))
}

// Route measures the requests of one route. Nil measures nothing.
type Route struct {
	name     string
	all      *Requests
	inFlight *Striped
	// durations maps a status to its series.
	durations map[int]prometheus.Observer
	// stream: a response with status 200 has no duration.
	stream bool
}

// Start measures a request from now on. Stop must be called exactly once.
func (r *Route) Start() Measurement {
	if r == nil {
		return Measurement{}
	}
	m := Measurement{route: r, began: time.Now()}
	r.inFlight.Add(m.part(), 1)
	return m
}

// Measurement is that of one request.
type Measurement struct {
	route *Route
	began time.Time
}

// part of the requests in flight: the nanoseconds differ from request to request.
func (m Measurement) part() uint8 { return uint8(m.began.Nanosecond() >> 4) }

// Stop ends the measurement with the status of the response.
func (m Measurement) Stop(status int) {
	if m.route == nil {
		return
	}
	m.route.inFlight.Add(m.part(), -1)
	if m.route.stream && status == http.StatusOK {
		return
	}
	observer, known := m.route.durations[status]
	if !known {
		// A status that is missing in the list: better a late series than none.
		observer = m.route.all.duration(m.route.name, status)
	}
	observer.Observe(time.Since(m.began).Seconds())
}
