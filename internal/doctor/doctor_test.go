package doctor

import (
	"testing"
	"time"

	"github.com/keytail/keytail/internal/keystore"
)

func TestVersions(t *testing.T) {
	for version, want := range map[string]Status{
		"4.2.24": ToDo, "3.6.0": ToDo, "4.4.0": OK, "4.4.0-rc1": OK, "5.0.1": OK, "8.2.11": OK, "10.0.0": OK, "": Warning, "latest": Warning,
	} {
		if got, detail := versionStatus(version); got != want {
			t.Errorf("%q is %q: %s", version, got, detail)
		}
	}
}

func TestClocks(t *testing.T) {
	requestedAt := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		took, offset time.Duration
		want         Status
	}{
		"the same":                      {2 * time.Millisecond, 0, OK},
		"within the round trip":         {4 * time.Second, 1900 * time.Millisecond, OK},
		"a second behind":               {2 * time.Millisecond, -1100 * time.Millisecond, Warning},
		"a second ahead":                {2 * time.Millisecond, 1100 * time.Millisecond, Warning},
		"two minutes":                   {2 * time.Millisecond, 2 * time.Minute, ToDo},
		"a minute, by a slow question":  {20 * time.Second, 65 * time.Second, Warning},
		"a minute, and not by the line": {time.Millisecond, -65 * time.Second, ToDo},
	} {
		d := keystore.Deployment{RequestedAt: requestedAt, Took: c.took, LocalTime: requestedAt.Add(c.took/2 + c.offset)}
		if got, detail := clockStatus(d); got != c.want {
			t.Errorf("%s is %q: %s", name, got, detail)
		}
	}
	if got, _ := clockStatus(keystore.Deployment{RequestedAt: requestedAt}); got != Warning {
		t.Errorf("no clock is %q", got)
	}
}

func TestAReportIsOKOnlyIfAllChecksAre(t *testing.T) {
	for status, want := range map[Status]bool{OK: true, Warning: true, ToDo: false, NotTried: false} {
		r := Report{OK: true}
		r.add(Check{Name: "a", Status: status}, nil)
		r.add(Check{Name: "b", Status: OK}, nil)
		if r.OK != want {
			t.Errorf("%q: %v", status, r.OK)
		}
	}
}
