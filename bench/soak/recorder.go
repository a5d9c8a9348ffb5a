package soak

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// wrongKept bounds the texts of wrong answers; all are counted.
const wrongKept = 10

// recorder counts what clients saw. It is safe for concurrent use.
type recorder struct {
	mutex sync.Mutex
	// second and all have the durations of answers, since the last sample and in total, in
	// microseconds.
	second, all *hdrhistogram.Histogram
	// counts maps a kind of request to its answers.
	counts map[string]int
	wrong  []string
	wrongs int
}

func newRecorder() *recorder {
	return &recorder{second: newHistogram(), all: newHistogram(), counts: map[string]int{}}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

// answered notes an answer of a kind of request, whose duration counts.
func (r *recorder) answered(kind string, took time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.counts[kind]++
	_ = r.second.RecordValue(min(max(1, took.Microseconds()), time.Minute.Microseconds()))
}

// did notes something whose duration means nothing.
func (r *recorder) did(kind string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.counts[kind]++
}

// wrongf notes an answer that keytail must not give.
func (r *recorder) wrongf(format string, args ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.wrongs++; len(r.wrong) < wrongKept {
		r.wrong = append(r.wrong, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// sample sets the figures since the last call.
func (r *recorder) sample(s *Sample, since time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	s.Requests = float64(r.second.TotalCount()) / since.Seconds()
	s.P99 = time.Duration(r.second.ValueAtQuantile(99)) * time.Microsecond
	r.all.Merge(r.second)
	r.second.Reset()
}

// report sets the totals of an outcome.
func (r *recorder) report(o *Outcome) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	o.Counts, o.Wrong, o.Wrongs = maps.Clone(r.counts), append([]string(nil), r.wrong...), r.wrongs
	for _, q := range []float64{50, 99, 99.9, 100} {
		o.Quantiles = append(o.Quantiles, time.Duration(r.all.ValueAtQuantile(q))*time.Microsecond)
	}
}
