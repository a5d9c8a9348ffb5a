package doctor

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
)

func TestMemory(t *testing.T) {
	capacity := keycache.GenerationBytes(10, true)
	for name, c := range map[string]struct {
		mode   preload.Mode
		total  int64
		want   Status
		advice string
	}{
		"fits":                {preload.Auto, capacity / 200, OK, ""},
		"too many":            {preload.Auto, capacity, Warning, "use --cache-size 2145 or more"},
		"too many, requested": {preload.On, capacity, ToDo, "use --cache-size 2145 or more, or --preload auto"},
		"not wanted":          {preload.Off, capacity, OK, "--preload off"},
	} {
		e := &examination{Config: Config{CacheSizeMiB: 10, Preload: c.mode}, survey: &keystore.Survey{Documents: 10, Total: c.total}, entries: 2000}
		e.memory()
		if got := e.report.Checks[0]; got.Status != c.want || !strings.Contains(got.Detail, c.advice) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestMemoryIsExplained: the size is given in keys, and each part of it has a reason.
func TestMemoryIsExplained(t *testing.T) {
	for _, c := range []struct {
		size                int
		mode                preload.Mode
		wantDetail, wantWhy string
	}{
		{
			0, preload.Auto, "1000 keys of about 200 bytes take 0.2 MiB of 420.0 MiB; --cache-size 512 holds at least 2200000 keys of this size",
			"of the 512 MiB, 420.0 MiB are for keys, 60.0 MiB for keys that have changed since the last scan, and 32.0 MiB for the hashes of unknown keys; if keys take more than half of theirs",
		},
		{
			512, preload.Off, "1000 keys of about 200 bytes take 0.2 MiB of 480.0 MiB; --cache-size 512 holds at least 2500000 keys of this size",
			"of the 512 MiB, 480.0 MiB are for keys and 32.0 MiB for the hashes of unknown keys",
		},
		{3, preload.On, "1000 keys of about 200 bytes take 0.2 MiB of 1.0 MiB; --cache-size 3 holds at least 5200 keys", "of the 3 MiB, 1.0 MiB are for keys, 1.0 MiB for keys that have changed"},
	} {
		e := &examination{Config: Config{CacheSizeMiB: c.size, Preload: c.mode}, survey: &keystore.Survey{Documents: 10, Total: 1000}, entries: 2000}
		e.memory()
		if got := e.report.Checks[0]; !strings.HasPrefix(got.Detail, c.wantDetail) || len(got.More) != 1 || !strings.HasPrefix(got.More[0], c.wantWhy) {
			t.Errorf("%d MiB, %s: %+v", c.size, c.mode, got)
		}
	}
}

// TestTheSizeThatIsAdvisedIsEnough, and one MiB less is not.
func TestTheSizeThatIsAdvisedIsEnough(t *testing.T) {
	for _, complete := range []bool{true, false} {
		for _, need := range []int64{1, 1 << 20, 10 << 20, 5_000_000_000} {
			size, want := sizeFor(need, complete), need+need/spare
			if keycache.GenerationBytes(size, complete) < want || size > 3 && keycache.GenerationBytes(size-1, complete) >= want {
				t.Errorf("%d bytes: %d MiB", need, size)
			}
		}
	}
}

// TestSpaceForASecondCopyIsAdvised, where keys fit but a second copy of them does not.
func TestSpaceForASecondCopyIsAdvised(t *testing.T) {
	for keys, want := range map[int64]string{1000: "", 1_500_000: "; use --cache-size 766 or more for space for both"} {
		e := &examination{Config: Config{CacheSizeMiB: 512, Preload: preload.Auto}, survey: &keystore.Survey{Documents: 10, Total: keys}, entries: 2000}
		e.memory()
		if got := e.report.Checks[0]; got.Status != OK || !strings.HasSuffix(got.More[0], "very many changes"+want) {
			t.Errorf("%d keys: %+v", keys, got)
		}
	}
}
