package cli

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/doctor"
)

func TestVerdictOfDoctor(t *testing.T) {
	for _, test := range []struct {
		statuses []doctor.Status
		want     string
	}{
		{[]doctor.Status{doctor.OK, doctor.OK}, "keytail v1 can run here"},
		{[]doctor.Status{doctor.OK, doctor.Warning}, "keytail v1 can run here, with warnings from 1 of 2 checks"},
		{[]doctor.Status{doctor.ToDo, doctor.Warning, doctor.ToDo}, "keytail v1 cannot run here yet: 2 of 3 checks failed"},
		{[]doctor.Status{doctor.ToDo, doctor.NotTried, doctor.NotTried}, "keytail v1 cannot run here yet: 1 of 3 checks failed, 2 not tried"},
		{[]doctor.Status{doctor.OK, doctor.NotTried}, "it is not known whether keytail v1 can run here: of 2 checks none failed, 1 not tried"},
	} {
		report := doctor.Report{Version: "v1"}
		for _, status := range test.statuses {
			report.Checks = append(report.Checks, doctor.Check{Status: status})
		}
		var out strings.Builder
		printer{Writer: &out}.verdict(report)
		if got := strings.TrimSuffix(out.String(), "\n"); got != test.want {
			t.Errorf("%q: %q, want %q", test.statuses, got, test.want)
		}
	}
}
