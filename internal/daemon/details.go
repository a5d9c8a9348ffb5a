package daemon

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/service"
	"github.com/keytail/keytail/internal/trends"
)

// details are what the status shows beyond what readyz reports.
type details struct {
	core     *service.Service
	past     *trends.Recorder
	members  func() []mongoclient.Member
	settings []api.Setting
}

func newDetails(config *Config, core *service.Service) (*details, error) {
	staleness := func() time.Duration {
		s := core.Status()
		return s.Staleness
	}
	past, err := trends.New(trends.Config{Gatherer: config.Registry, Staleness: staleness})
	return &details{core: core, past: past, members: config.Members, settings: config.Settings}, err
}

// read is the details now. It reads nothing from the database.
func (d *details) read() api.StatusDetails {
	past := d.past.Snapshot()
	all := api.StatusDetails{
		MaxStaleMS:       d.core.Config.MaxStale.Milliseconds(),
		StalenessHistory: stalenessPoints(past.Staleness),
		Hour:             lastHour(&past),
		Defects:          defects(d.core.Store.LastScan()),
		Memory:           memory(),
		Settings:         d.settings,
	}
	all.Memory.CacheBytes = d.core.Cache.Stats().CapacityBytes
	for _, l := range past.Losses {
		all.Losses = append(all.Losses, api.LossCount(l))
	}
	if d.members != nil {
		all.Members = members(d.members())
	}
	condition := d.core.Condition()
	addCondition(&all, &condition)
	return all
}

func addCondition(all *api.StatusDetails, c *service.Condition) {
	all.Since, all.OutageSince, all.Effect = timestamp(c.Since), timestamp(c.OutageSince), c.Effect
	if last := c.LastOutage; last != nil {
		all.LastOutage = &api.Outage{EndedAt: api.Timestamp{Time: last.EndedAt}, TookMS: last.Took.Milliseconds(), DownMS: last.DownFor.Milliseconds()}
	}
	if why := c.Cause; why != nil {
		all.Cause = &api.StateCause{
			What: why.What, FailingSince: timestamp(why.Since), Error: errorText(why.Err), ReadError: errorText(why.ReadErr),
			Advice: why.Advice, Next: why.Next,
		}
	}
}

func members(all []mongoclient.Member) []api.Member {
	result := make([]api.Member, 0, len(all))
	for _, m := range all {
		result = append(result, api.Member{
			Address: m.Address, Role: m.Role, LastSeen: timestamp(m.LastSeen), Error: m.Err, FailedAt: timestamp(m.FailedAt),
		})
	}
	return result
}

func stalenessPoints(all []trends.Point) []api.StalenessPoint {
	result := make([]api.StalenessPoint, 0, len(all))
	for _, p := range all {
		point := api.StalenessPoint{At: api.Timestamp{Time: p.At}}
		if ms := milliseconds(p.Staleness); ms >= 0 {
			point.StalenessMS = &ms
		}
		result = append(result, point)
	}
	return result
}

// lastHour is nil until the metrics have been read.
func lastHour(past *trends.Snapshot) *api.LastHour {
	if past.FirstMinute.IsZero() {
		return nil
	}
	hour := &api.LastHour{FirstMinute: api.Timestamp{Time: past.FirstMinute}, Verdicts: []api.VerdictCount{}, Delays: []api.DelayBucket{}}
	for _, v := range past.Verdicts {
		hour.Verdicts = append(hour.Verdicts, api.VerdictCount(v))
	}
	for _, b := range past.Delays.Buckets {
		bucket := api.DelayBucket{Count: b.Count}
		if !math.IsInf(b.UpTo, 1) {
			bucket.UpToSeconds = &b.UpTo
		}
		hour.Delays = append(hour.Delays, bucket)
	}
	return hour
}

// defects is nil without a complete scan.
func defects(scan *keystore.ScanDefects) *api.Defects {
	if scan == nil {
		return nil
	}
	d := &api.Defects{
		At: api.Timestamp{Time: scan.At}, Read: scan.Read, Disabled: scan.Disabled, WithoutHash: scan.Unfindable,
		Reasons: []api.DefectCount{}, KeyIDs: append([]string{}, scan.KeyIDs...),
	}
	for _, r := range scan.Reasons {
		d.Reasons = append(d.Reasons, api.DefectCount{Defect: r.What, Count: r.Count})
	}
	return d
}

// The names of package runtime/metrics.
const (
	runtimeHeap       = "/memory/classes/heap/objects:bytes"
	runtimeTotal      = "/memory/classes/total:bytes"
	runtimeGoroutines = "/sched/goroutines:goroutines"
)

// memory is what the process uses.
func memory() *api.Memory {
	samples := []metrics.Sample{{Name: runtimeHeap}, {Name: runtimeTotal}, {Name: runtimeGoroutines}}
	metrics.Read(samples)
	m := &api.Memory{HeapBytes: samples[0].Value.Uint64(), TotalBytes: samples[1].Value.Uint64(), Goroutines: samples[2].Value.Uint64()}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 { // -1 only reads it
		m.LimitBytes = limit
	}
	return m
}

// timestamp is nil for the zero time.
func timestamp(at time.Time) *api.Timestamp {
	if at.IsZero() {
		return nil
	}
	return &api.Timestamp{Time: at}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
