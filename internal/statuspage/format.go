package statuspage

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
)

// moment is a time to the second in UTC. Logs and metrics of other machines have the same
// zone, and the page need not know the person's.
func moment(at any) string {
	switch t := at.(type) {
	case *api.Timestamp:
		if t != nil {
			return moment(t.Time)
		}
	case api.Timestamp:
		return moment(t.Time)
	case time.Time:
		if !t.IsZero() {
			return t.UTC().Format("2006-01-02 15:04:05 UTC")
		}
	}
	return "never"
}

// longAge is a duration in one or two units, such as "3 min 5 s". A negative one, of clocks
// that differ, is 0 s.
func longAge(d time.Duration) string {
	d = max(0, d).Truncate(time.Second)
	days, d := d/(24*time.Hour), d%(24*time.Hour)
	hours, d := d/time.Hour, d%time.Hour
	minutes, d := d/time.Minute, d%time.Minute
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %d s", minutes, d/time.Second)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// seconds is a short duration in milliseconds as seconds, or "unknown".
func seconds(ms *int64) string {
	if ms == nil {
		return "unknown"
	}
	return secondsText(milliseconds(*ms))
}

// secondsText has tenths up to a minute.
func secondsText(d time.Duration) string {
	if d >= time.Minute {
		return longAge(d)
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// number groups the digits of any type of integer that is not negative: 1,234,567.
func number(n any) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// size is a number of bytes, of any type of integer, in MiB with a tenth.
func size(bytes any) string {
	n, _ := strconv.ParseFloat(fmt.Sprint(bytes), 64)
	return strconv.FormatFloat(n/(1<<20), 'f', 1, 64) + " MiB"
}

// settingName is a setting as a flag.
func settingName(name string) string {
	if name == "policies" { // in the file alone
		return name
	}
	return "--" + name
}
