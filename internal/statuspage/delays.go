package statuspage

import (
	"fmt"
	"strconv"

	"github.com/keytail/keytail/api"
)

// DelayRow is one bucket of the delays.
type DelayRow struct {
	Range string
	Count uint64
	// Width is that of its bar, of 100.
	Width string
}

// DelayTotal is the number of changes in the last hour.
func (d *Data) DelayTotal() uint64 {
	var total uint64
	for _, b := range d.buckets() {
		total += b.Count
	}
	return total
}

// DelayText is how late changes were, in words.
func (d *Data) DelayText() string {
	total := d.DelayTotal()
	if total == 0 {
		return "No key has changed in the last hour."
	}
	var sum uint64
	for _, b := range d.buckets() {
		if sum += b.Count; sum*100 >= total*99 {
			if b.UpToSeconds == nil {
				break
			}
			return fmt.Sprintf("99 %% of %s changes took effect within %s.", number(total), bound(*b.UpToSeconds))
		}
	}
	return "More than 1 % of " + number(total) + " changes took longer than " + d.largestBound() + "."
}

func (d *Data) buckets() []api.DelayBucket {
	if d.Status.Hour == nil {
		return nil
	}
	return d.Status.Hour.Delays
}

// DelayRows are the buckets from the first to the last one with a change.
func (d *Data) DelayRows() []DelayRow {
	all := d.buckets()
	first, last, top := -1, -1, uint64(0)
	for i, b := range all {
		if b.Count > 0 {
			if first < 0 {
				first = i
			}
			last, top = i, max(top, b.Count)
		}
	}
	if first < 0 {
		return nil
	}
	var rows []DelayRow
	for i := first; i <= last; i++ {
		rows = append(rows, DelayRow{
			Range: rangeText(all, i), Count: all[i].Count,
			Width: strconv.FormatFloat(float64(all[i].Count)/float64(top)*100, 'f', 1, 64),
		})
	}
	return rows
}

func rangeText(all []api.DelayBucket, i int) string {
	switch {
	case all[i].UpToSeconds != nil:
		return "up to " + bound(*all[i].UpToSeconds)
	case i > 0 && all[i-1].UpToSeconds != nil:
		return "more than " + bound(*all[i-1].UpToSeconds)
	}
	return "any"
}

func (d *Data) largestBound() string {
	largest := "unknown"
	for _, b := range d.buckets() {
		if b.UpToSeconds != nil {
			largest = bound(*b.UpToSeconds)
		}
	}
	return largest
}

// bound is a bound of a bucket: in milliseconds below a second.
func bound(seconds float64) string {
	if seconds < 1 {
		return strconv.FormatFloat(seconds*1000, 'g', 4, 64) + " ms"
	}
	return strconv.FormatFloat(seconds, 'g', 4, 64) + " s"
}
