package connlimit

import (
	"strings"
	"testing"
)

func TestDivide(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		need          Need
		clients, side int
		warning, err  string
	}{
		"no limit":         {Need{Database: 100}, 8192, 64, "", ""},
		"a server":         {Need{Descriptors: 1 << 20, Database: 100, GRPC: true}, 8192, 64, "", ""},
		"ulimit -n 1024":   {Need{Descriptors: 1024, Database: 100}, 1024 - 48 - 100 - 128, 64, "", ""},
		"with gRPC":        {Need{Descriptors: 1024, Database: 100, GRPC: true}, (1024 - 48 - 100 - 128) / 2, 64, "", ""},
		"ulimit -n 256":    {Need{Descriptors: 256, Database: 100}, 256 - 48 - 100 - 32, 16, "", ""},
		"ulimit -n 128":    {Need{Descriptors: 128, Database: 100}, 16, 8, "to at least 292, or set a lower maxPoolSize", ""},
		"a smaller pool":   {Need{Descriptors: 128, Database: 8}, 128 - 48 - 8 - 16, 8, "", ""},
		"requested":        {Need{Descriptors: 1024, Database: 100, Requested: 200}, 200, 64, "", ""},
		"requested much":   {Need{Database: 100, Requested: 100_000}, 100_000, 64, "", ""},
		"requested, a lot": {Need{Descriptors: 1024, Database: 100, Requested: 2000}, 0, 0, "", "to at least 2276"},
		"a small limit":    {Need{Descriptors: 256, Database: 100, Requested: 200}, 0, 0, "", "to at least 476"},
		"as it said":       {Need{Descriptors: 476, Database: 100, Requested: 200}, 200, 29, "", ""},
		"both listeners":   {Need{Descriptors: 1024, Database: 100, Requested: 400, GRPC: true}, 0, 0, "", "to at least 1076"},
	} {
		got, err := Divide(test.need)
		if err != nil || test.err != "" {
			if err == nil || test.err == "" || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v, want the error %q", name, err, test.err)
			}
			continue
		}
		if got.Clients != test.clients || got.Side != test.side || (got.Warning == "") != (test.warning == "") || !strings.Contains(got.Warning, test.warning) {
			t.Errorf("%s: got %+v, want %+v", name, got, test)
		}
	}
}
