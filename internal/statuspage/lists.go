package statuspage

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/api"
)

// The most lines of each list: a person does not read more, and the page is sent often.
// The JSON of the API has all of them.
const (
	maxInstances = 50
	maxReasons   = 20
	maxMembers   = 50
	maxLosses    = 30
)

// More is how many lines of a list are not shown.
type More int

// InstanceRow is one instance of the fleet.
type InstanceRow struct {
	ID, Version string
	// Staleness is that of its data when it sent its heartbeat, Seen how long ago that was.
	Staleness, Seen string
	// Behind is how far its changes are behind those of the first instance, in cluster time.
	Behind string
	Self   bool
	// Late: it should be looked at.
	Late bool
}

// InstanceRows are the instances, those that need attention first.
func (d *Data) InstanceRows() []InstanceRow {
	all := slices.Clone(d.Fleet.Instances)
	newest := newestRevision(all)
	slices.SortStableFunc(all, func(a, b api.Instance) int {
		return cmp.Or(-cmp.Compare(staleness(&a), staleness(&b)), cmp.Compare(a.ID, b.ID))
	})
	var rows []InstanceRow
	for i := range all[:min(len(all), maxInstances)] {
		rows = append(rows, d.instanceRow(&all[i], newest))
	}
	return rows
}

func (d *Data) instanceRow(i *api.Instance, newest int64) InstanceRow {
	row := InstanceRow{
		ID: i.ID, Version: i.Version, Staleness: seconds(i.StalenessMS), Seen: d.Age(i.LastSeen), Behind: "unknown",
		Self: i.ID == d.Status.Instance,
	}
	if at, known := revisionSeconds(i); known {
		row.Behind = strconv.FormatInt(newest-at, 10) + " s"
	}
	limit := d.Status.MaxStaleMS
	row.Late = i.StalenessMS == nil || limit > 0 && (*i.StalenessMS > limit || d.Now.Sub(i.LastSeen.Time) > milliseconds(limit))
	return row
}

// InstanceCount is how many instances there are.
func (d *Data) InstanceCount() int { return len(d.Fleet.Instances) }

// MoreInstances is how many are not shown.
func (d *Data) MoreInstances() More { return rest(len(d.Fleet.Instances), maxInstances) }

// staleness sorts unknown above everything.
func staleness(i *api.Instance) int64 {
	if i.StalenessMS == nil {
		return int64(1) << 62
	}
	return *i.StalenessMS
}

// revisionSeconds are the seconds of a revision, which are its first eight digits.
func revisionSeconds(i *api.Instance) (int64, bool) {
	const digits = 8
	if i.Revision == nil || len(*i.Revision) < digits {
		return 0, false
	}
	at, err := strconv.ParseInt((*i.Revision)[:digits], 16, 64)
	return at, err == nil
}

func newestRevision(all []api.Instance) int64 {
	var newest int64
	for i := range all {
		if at, known := revisionSeconds(&all[i]); known {
			newest = max(newest, at)
		}
	}
	return newest
}

// Stamp says how old a list is.
func (d *Data) Stamp(asOf time.Time, failed bool) string {
	switch {
	case asOf.IsZero() && failed:
		return "The list could not be read from MongoDB."
	case failed:
		return "MongoDB does not answer: this is the list of " + moment(asOf) + "."
	}
	return "As of " + moment(asOf) + "."
}

// MemberRows are the MongoDB servers.
func (d *Data) MemberRows() []api.Member {
	return d.Status.Members[:min(len(d.Status.Members), maxMembers)]
}

// MoreMembers is how many are not shown.
func (d *Data) MoreMembers() More { return rest(len(d.Status.Members), maxMembers) }

// NoPrimary reports that no member takes writes.
func (d *Data) NoPrimary() bool {
	return !slices.ContainsFunc(d.Status.Members, func(m api.Member) bool { return m.Role == "primary" || m.Role == "mongos" })
}

// LossRows are the losses by reason.
func (d *Data) LossRows() []api.LossCount {
	return d.Status.Losses[:min(len(d.Status.Losses), maxLosses)]
}

// MoreLosses is how many are not shown.
func (d *Data) MoreLosses() More { return rest(len(d.Status.Losses), maxLosses) }

// DefectRows are the most frequent defects.
func (d *Data) DefectRows() []api.DefectCount {
	return d.Status.Defects.Reasons[:min(len(d.Status.Defects.Reasons), maxReasons)]
}

// MoreDefects is how many kinds of defects are not shown.
func (d *Data) MoreDefects() More { return rest(len(d.Status.Defects.Reasons), maxReasons) }

// MoreDefectiveKeys is how many defective documents are not named.
func (d *Data) MoreDefectiveKeys() More {
	return rest(d.Status.Defects.Disabled+d.Status.Defects.WithoutHash, len(d.Status.Defects.KeyIDs))
}

// DefectiveKeys are the ids of some defective documents.
func (d *Data) DefectiveKeys() string { return strings.Join(d.Status.Defects.KeyIDs, ", ") }

// Action is what an audit entry tells, with its cause.
func (d *Data) Action(e api.AuditEntry) string {
	if e.Cause != nil {
		return e.Action + " (" + *e.Cause + ")"
	}
	return e.Action
}

func rest(all, shown int) More { return More(max(0, all-shown)) }
