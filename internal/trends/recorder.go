package trends

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	// stalenessInterval is between two points of the staleness: as often as heartbeats.
	stalenessInterval = time.Second
	// stalenessPoints is how many points there are: ten minutes are more than an election
	// takes, and enough to see how an outage began.
	stalenessPoints = 600
	// gatherInterval is between two readings of the metrics. One takes some milliseconds, as
	// for Prometheus.
	gatherInterval = 10 * time.Second
	// minutes is how many minutes of verdicts and delays there are.
	minutes = 60
)

// The metrics that a Recorder reads.
const (
	metricVerdicts = "keytail_verdicts_total"
	metricDelays   = "keytail_event_lag_seconds"
	metricLosses   = "keytail_losses_total"
)

// Config of a Recorder. Gatherer and Staleness are required.
type Config struct {
	// Gatherer has the metrics of the instance.
	Gatherer prometheus.Gatherer
	// Staleness is that of answers from the cache now. Negative: not known.
	Staleness func() time.Duration
	// Now is the wall clock. Nil: time.Now.
	Now func() time.Time
}

// Recorder remembers the recent past. Snapshot is safe for concurrent use.
type Recorder struct {
	config Config

	mutex sync.Mutex
	// staleness is a ring whose oldest point is at next once it is full.
	staleness []Point
	next      int
	// ring has the counts of each minute; minute is the number of the last one since 1970.
	ring   [minutes]counts
	minute int64
	// total is the last reading of the counters.
	total  counts
	losses map[string]uint64
	// gathered is when the metrics were last read. Zero: never.
	gathered time.Time
}

// counts are what a Recorder counts in a minute.
type counts struct {
	// verdicts maps a code to its number.
	verdicts map[string]uint64
	// delays are the changes of keys by their delay, not cumulative: one for each bound, and
	// the last one for those above.
	delays []uint64
	bounds []float64
}

// New makes a Recorder that has recorded nothing.
func New(config Config) (*Recorder, error) {
	if config.Gatherer == nil || config.Staleness == nil {
		return nil, errors.New("trends: Config needs Gatherer and Staleness")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Recorder{config: config}, nil
}

// Run records until ctx ends, and returns nil.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(stalenessInterval)
	defer ticker.Stop()
	for {
		r.record(r.config.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// record adds a point of the staleness and, if it is time, reads the metrics.
func (r *Recorder) record(now time.Time) {
	point := Point{At: now, Staleness: r.config.Staleness()}
	r.mutex.Lock()
	if len(r.staleness) < stalenessPoints {
		r.staleness = append(r.staleness, point)
	} else {
		r.staleness[r.next] = point
		r.next = (r.next + 1) % stalenessPoints
	}
	due := r.gathered.IsZero() || now.Sub(r.gathered) >= gatherInterval
	r.mutex.Unlock()
	if due {
		r.gather(now)
	}
}

// gather reads the metrics. A collector that fails does not hide the others.
func (r *Recorder) gather(now time.Time) {
	families, _ := r.config.Gatherer.Gather() // the log has the error at each scrape of /metrics
	total, losses := read(families)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	first := r.gathered.IsZero()
	r.gathered = now
	r.moveTo(now.Unix() / int64(time.Minute/time.Second))
	if !first { // what was counted before belongs to no minute
		r.current().add(&total, &r.total)
	}
	r.total, r.losses = total, losses
}

// moveTo clears the minutes that have passed. If the wall clock was set back, the last
// minute continues.
func (r *Recorder) moveTo(minute int64) {
	for passed := min(minute-r.minute, minutes); passed > 0; passed-- {
		r.ring[(minute-passed+1)%minutes] = counts{}
	}
	r.minute = max(r.minute, minute)
}

func (r *Recorder) current() *counts { return &r.ring[r.minute%minutes] }

// add adds the difference of two readings.
func (c *counts) add(now, before *counts) {
	if c.verdicts == nil {
		c.verdicts = map[string]uint64{}
	}
	for code, n := range now.verdicts {
		c.verdicts[code] += n - min(n, before.verdicts[code])
	}
	c.bounds = now.bounds
	if len(c.delays) != len(now.delays) {
		c.delays = make([]uint64, len(now.delays))
	}
	for i, n := range now.delays {
		var old uint64
		if i < len(before.delays) {
			old = before.delays[i]
		}
		c.delays[i] += n - min(n, old)
	}
}

// read takes the counters out of the metrics.
func read(families []*dto.MetricFamily) (total counts, losses map[string]uint64) {
	total.verdicts, losses = map[string]uint64{}, map[string]uint64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			switch family.GetName() {
			case metricVerdicts:
				total.verdicts[label(metric, "code")] += uint64(metric.GetCounter().GetValue())
			case metricLosses:
				losses[label(metric, "reason")] = uint64(metric.GetCounter().GetValue())
			case metricDelays:
				if label(metric, "kind") == "change" {
					total.readDelays(metric.GetHistogram())
				}
			}
		}
	}
	return total, losses
}

func (c *counts) readDelays(h *dto.Histogram) {
	var before uint64
	for _, bucket := range h.GetBucket() {
		c.bounds = append(c.bounds, bucket.GetUpperBound())
		c.delays = append(c.delays, bucket.GetCumulativeCount()-before)
		before = bucket.GetCumulativeCount()
	}
	c.delays = append(c.delays, h.GetSampleCount()-before)
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
