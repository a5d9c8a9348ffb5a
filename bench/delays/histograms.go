package delays

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The distributions. All values are times.
const (
	// FirstRefusal: from the acknowledgement of a revocation to the arrival of the first
	// answer that refuses the key; zero if that came first. UNAVAILABLE does not refuse.
	FirstRefusal = "first-refusal"
	// LastAcceptance: from the acknowledgement to the arrival of the last answer that
	// accepts the key; zero if none came after it.
	LastAcceptance = "last-acceptance"
	// UnavailableAfterBegin and UnavailableAfterEnd: from the beginning (the end) of the
	// fault to each answer UNAVAILABLE for a valid key.
	UnavailableAfterBegin = "unavailable-after-begin"
	UnavailableAfterEnd   = "unavailable-after-end"
	// Staleness: the age that each answer for a valid key reports.
	Staleness = "staleness"
)

// Distributions are the names of all distributions, in the order of a file.
var Distributions = []string{FirstRefusal, LastAcceptance, UnavailableAfterBegin, UnavailableAfterEnd, Staleness}

// longest is the largest time of a histogram, and digits the number of its significant
// digits.
const (
	longest = time.Hour
	digits  = 3
)

// Histograms are the distributions of one fault, by name, in nanoseconds.
type Histograms map[string]*hdrhistogram.Histogram

// record adds a time to a distribution, and 0 for a negative one.
func (h Histograms) record(name string, d time.Duration) {
	if h[name] == nil {
		h[name] = hdrhistogram.New(1, longest.Nanoseconds(), digits)
	}
	_ = h[name].RecordValue(min(max(d, 0), longest).Nanoseconds()) // it is in the range
}

// max returns the largest time of a distribution. Zero: it has none.
func (h Histograms) max(name string) time.Duration {
	if h[name] == nil {
		return 0
	}
	return time.Duration(h[name].Max())
}

// WriteLog writes all distributions in HdrHistogram's log format. Each line has the tag
// fault/distribution; values are nanoseconds, and the maximum in a line is in milliseconds.
func (o *Outcome) WriteLog(w io.Writer) error {
	log := hdrhistogram.NewHistogramLogWriter(w)
	if err := log.OutputLogFormatVersion(); err != nil {
		return err
	}
	if err := log.OutputComment(fmt.Sprintf("[keytail: delays by fault; max_stale %v; tag fault/distribution; nanoseconds]", o.MaxStale)); err != nil {
		return err
	}
	if i := slices.IndexFunc(o.Measurements, func(m *Measurement) bool { return m.Rounds > 0 }); i >= 0 {
		if err := log.OutputStartTime(o.Measurements[i].from.UnixMilli()); err != nil {
			return err
		}
	}
	if err := log.OutputLegend(); err != nil {
		return err
	}
	for _, m := range o.Measurements {
		for _, name := range Distributions {
			h := m.Histograms[name]
			if h == nil {
				continue
			}
			h.SetTag(m.Fault + "/" + name)
			h.SetStartTimeMs(m.from.UnixMilli())
			h.SetEndTimeMs(m.to.UnixMilli())
			if err := log.OutputIntervalHistogram(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadLog reads what WriteLog has written into the measurements of the outcome.
func (o *Outcome) ReadLog(r io.Reader) error {
	log := hdrhistogram.NewHistogramLogReader(r)
	for {
		h, err := log.NextIntervalHistogram()
		if err != nil {
			return err
		}
		if h == nil {
			return nil
		}
		fault, name, _ := strings.Cut(h.Tag(), "/")
		i := slices.IndexFunc(o.Measurements, func(m *Measurement) bool { return m.Fault == fault })
		if i < 0 || !slices.Contains(Distributions, name) {
			return fmt.Errorf("the log has the tag %q, which the result does not have: measure again", h.Tag())
		}
		if o.Measurements[i].Histograms == nil {
			o.Measurements[i].Histograms = Histograms{}
		}
		o.Measurements[i].Histograms[name] = h
	}
}
