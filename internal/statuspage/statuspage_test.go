package statuspage

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/webui"
)

var update = flag.Bool("update", false, "write the golden pages")

var now = time.Date(2026, 11, 30, 3, 12, 5, 0, time.UTC)

func ago(d time.Duration) *api.Timestamp { return &api.Timestamp{Time: now.Add(-d)} }

func point[T any](v T) *T { return &v }

// healthy is an instance in whose data every part of the page has something.
func healthy() *Data {
	perMinute := make([]uint64, 60)
	perMinute[0], perMinute[58], perMinute[59] = 4, 120, 60
	status := &api.Status{
		Instance: "orders-7/BOOT", Version: "v1.4.0",
		Readiness: api.Readiness{
			State: "live", StalenessMS: point(int64(400)), LagMS: point(int64(35)), Epoch: 4, Complete: true, Entries: 12345,
			LastLoss: &api.Loss{At: *ago(50 * time.Hour), Reason: "oplog"}, Usage: &api.Usage{PendingKeys: 3, BatchSize: 1000},
		},
		StatusDetails: api.StatusDetails{
			Since: ago(26 * time.Hour), MaxStaleMS: 15000,
			Members: []api.Member{{Address: "mongo-1:27017", Role: "primary", LastSeen: ago(time.Second)}, {Address: "mongo-2:27017", Role: "unknown", Error: "connection refused", FailedAt: ago(2 * time.Second), LastSeen: ago(time.Minute)}},
			Hour: &api.LastHour{
				Verdicts: []api.VerdictCount{{Code: "VALID", Total: 184, PerMinute: perMinute}, {Code: "UNAVAILABLE", Total: 1, PerMinute: append(make([]uint64, 59), 1)}},
				Delays:   []api.DelayBucket{{UpToSeconds: point(.05), Count: 0}, {UpToSeconds: point(.1), Count: 198}, {UpToSeconds: point(1.), Count: 1}, {Count: 1}},
			},
			Losses:   []api.LossCount{{Reason: "oplog", Total: 1}},
			Defects:  &api.Defects{At: *ago(time.Hour), Read: 12346, Disabled: 1, Reasons: []api.DefectCount{{Defect: "scopes is not an array", Count: 1}}, KeyIDs: []string{"key-9"}},
			Memory:   &api.Memory{HeapBytes: 60 << 20, TotalBytes: 90 << 20, LimitBytes: 512 << 20, CacheBytes: 8 << 20, Goroutines: 40},
			Settings: []api.Setting{{Name: "max-stale", Value: "15s", Given: true}, {Name: "policies"}},
		},
	}
	for i := range 120 {
		p := api.StalenessPoint{At: *ago(time.Duration(120-i) * time.Second)}
		if i > 20 {
			p.StalenessMS = point(int64(300 + i%7*100))
		}
		status.StalenessHistory = append(status.StalenessHistory, p)
	}
	return &Data{
		Status: status, Now: now,
		Fleet: &Fleet{AsOf: now, Instances: []api.Instance{
			{ID: "orders-7/BOOT", Version: "v1.4.0", Revision: point("6923a1c000000003"), StalenessMS: point(int64(400)), LastSeen: *ago(time.Second)},
			{ID: "orders-8/BOOT", Version: "v1.3.9", LastSeen: *ago(time.Minute)},
		}},
		Audit: &Audit{AsOf: now, Entries: []api.AuditEntry{{At: *ago(time.Minute), Actor: "ann", Action: "revoke", Cause: point("leaked"), KeyID: "key-3", UserID: "user-1"}}},
	}
}

// states are a page for each state.
func states() map[string]*Data {
	all := map[string]*Data{"live": healthy(), "starting": {Now: now, Status: &api.Status{
		Instance: "orders-7/BOOT", Version: "v1.4.0", Readiness: api.Readiness{State: "connecting"},
		StatusDetails: api.StatusDetails{Effect: "each request reads the database", Cause: &api.StateCause{What: "the change stream is not open yet", Next: "the change stream has not been started"}},
	}}}
	for _, state := range []string{"stale", "down"} {
		d := healthy()
		d.Status.State, d.Status.StalenessMS, d.Status.Since, d.Status.OutageSince = state, point(int64(185000)), ago(170*time.Second), ago(180*time.Second)
		d.Status.Members[0] = api.Member{Address: "mongo-1:27017", Role: "secondary", LastSeen: ago(time.Second)}
		d.Status.Effect = "requests are answered with UNAVAILABLE"
		d.Status.Cause = &api.StateCause{What: "heartbeats are not acknowledged", FailingSince: ago(195 * time.Second), Error: "server selection error", ReadError: "no primary", Advice: "check that the replica set has a primary", Next: "a heartbeat every 1s"}
		d.Fleet.Failed, d.Audit.Failed = true, true
		all[state] = d
	}
	all["preloading"] = healthy()
	all["preloading"].Status.State, all["preloading"].Status.Complete = "preloading", false
	all["preloading"].Status.Scan = &api.Scan{KeysRead: 2400000, KeysExpected: point(int64(10_000_000)), KeysPerSecond: 800000, LeftMS: point(int64(9500))}
	all["unknown-state"] = healthy()
	all["unknown-state"].Status.State = "new"
	return all
}

func write(t *testing.T, d *Data) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	if err := Write(recorder, d, webui.View{Links: []webui.Link{{Path: "/", Text: "Status"}}, User: "ops (viewer)"}); err != nil {
		t.Fatal(err)
	}
	return recorder.Body.String()
}

// TestGoldenPages has the page in each state.
func TestGoldenPages(t *testing.T) {
	t.Parallel()
	for name, d := range states() {
		got, path := write(t, d), filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got), go test ./internal/statuspage -update writes it:\n%s", name, diff)
		}
	}
}

// TestPagesCanBeUsedByEveryone: what a screen reader and a strict policy need, in each
// state.
func TestPagesCanBeUsedByEveryone(t *testing.T) {
	t.Parallel()
	for name, d := range states() {
		document, err := html.Parse(strings.NewReader(write(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		ids, counts := map[string]int{}, map[string]int{}
		for node := range document.Descendants() {
			counts[node.Data]++
			if id := attribute(node, "id"); id != "" {
				ids[id]++
			}
		}
		for id, n := range ids {
			if n > 1 {
				t.Errorf("%s: %d elements have the id %s", name, n, id)
			}
		}
		if counts["h1"] != 1 || counts["main"] != 1 || counts["nav"] != 1 || counts["script"] != 1 {
			t.Errorf("%s: %v", name, counts)
		}
		for node := range document.Descendants() {
			checkElement(t, name, node, ids)
		}
	}
}

func checkElement(t *testing.T, page string, node *html.Node, ids map[string]int) {
	t.Helper()
	for _, a := range node.Attr {
		if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
			t.Errorf("%s: <%s> has the attribute %s, which the policy forbids", page, node.Data, a.Key)
		}
		if a.Key == "src" && !strings.HasPrefix(a.Val, "/ui/") || a.Key == "href" && node.Data == "link" && !strings.HasPrefix(a.Val, "/ui/") {
			t.Errorf("%s: <%s> loads %s", page, node.Data, a.Val)
		}
		if a.Key == "aria-labelledby" && ids[a.Val] != 1 {
			t.Errorf("%s: no element has the id %s", page, a.Val)
		}
	}
	switch node.Data {
	case "script":
		if node.FirstChild != nil {
			t.Errorf("%s: a script is in the page", page)
		}
	case "section":
		if attribute(node, "aria-labelledby") == "" && attribute(node, "aria-label") == "" {
			t.Errorf("%s: a section has no name", page)
		}
	case "table":
		if !has(node, "caption") {
			t.Errorf("%s: a table has no caption", page)
		}
	case "th":
		if attribute(node, "scope") == "" {
			t.Errorf("%s: a heading of a table has no scope", page)
		}
	case "svg":
		if attribute(node, "aria-hidden") != "true" && !has(node, "title") {
			t.Errorf("%s: a drawing has no text", page)
		}
	}
}

func attribute(node *html.Node, key string) string {
	for _, a := range node.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(node *html.Node, name string) bool {
	for child := range node.Descendants() {
		if child.Data == name {
			return true
		}
	}
	return false
}

// TestOutageSaysWhatToDo in words, and where the runbook is.
func TestOutageSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for state, texts := range map[string][]string{
		"stale":    {"! ", "Heartbeats are not acknowledged.", "last error", "What to do", "Do not restart keytail", "runbook.md#keytailstale", "3 min 0 s"},
		"down":     {"✕", "No primary is known", "Check that the replica set has a primary.", "Tell the owners", "runbook.md#keytaildown", "MongoDB does not answer: this is the list of"},
		"starting": {"The change stream is not open yet.", "Wait some seconds", "There is no round trip of a heartbeat yet."},
	} {
		text := write(t, states()[state])
		for _, want := range texts {
			if !strings.Contains(strings.ReplaceAll(text, "</span>", ""), want) {
				t.Errorf("%s: the page lacks %q", state, want)
			}
		}
	}
	if text := write(t, healthy()); strings.Contains(text, "What happened") {
		t.Error("a live instance explains an outage")
	}
}

// TestLongListsAreCut: the page stays readable, says how much is missing, and shows the
// instance that needs attention.
func TestLongListsAreCut(t *testing.T) {
	t.Parallel()
	d := healthy()
	for i := range 300 {
		d.Fleet.Instances = append(d.Fleet.Instances, api.Instance{ID: fmt.Sprintf("api-%03d/BOOT", i), StalenessMS: point(int64(i)), LastSeen: *ago(0)})
	}
	d.Fleet.Instances = append(d.Fleet.Instances, api.Instance{ID: "late/BOOT", StalenessMS: point(int64(99999)), LastSeen: *ago(0)})
	d.Status.Defects.Disabled = 10_000
	for i := range 10_000 {
		d.Status.Defects.Reasons = append(d.Status.Defects.Reasons, api.DefectCount{Defect: fmt.Sprint("element ", i), Count: 1})
		d.Status.Members = append(d.Status.Members, api.Member{Address: fmt.Sprint("m", i)})
		d.Status.Losses = append(d.Status.Losses, api.LossCount{Reason: fmt.Sprint("r", i)})
	}
	text := write(t, d)
	for _, want := range []string{"and 253 more", "and 9,981 more", "and 9,999 more", "and 9,952 more", "and 9,971 more", "late/BOOT", "api-299/BOOT"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	const enough = 100 << 10
	if strings.Contains(text, "api-100/BOOT") || len(text) > enough {
		t.Errorf("the page has %d bytes", len(text))
	}
}

// TestEveryTextIsEscaped that comes from elsewhere.
func TestEveryTextIsEscaped(t *testing.T) {
	t.Parallel()
	const evil = `</p><script>alert(1)</script>`
	d := states()["down"]
	d.Status.Instance, d.Status.Version, d.Status.Note, d.Status.IndexMissing = evil, evil, evil, evil
	d.Status.Cause = &api.StateCause{What: evil, Error: evil, ReadError: evil, Advice: evil, Next: evil}
	d.Status.Members[0] = api.Member{Address: evil, Role: evil, Error: evil}
	d.Status.Hour.Verdicts[0].Code, d.Status.Losses[0].Reason, d.Status.Defects.Reasons[0].Defect, d.Status.Defects.KeyIDs[0] = evil, evil, evil, evil
	d.Status.Settings[0] = api.Setting{Name: evil, Value: evil}
	d.Fleet.Instances[0].ID, d.Fleet.Instances[0].Version = evil, evil
	d.Audit.Entries[0] = api.AuditEntry{Actor: evil, Action: evil, KeyID: evil, UserID: evil}
	if text := write(t, d); strings.Contains(text, "<script>") || strings.Count(text, "&lt;script&gt;") < 20 {
		t.Error("a text is not escaped")
	}
}

// TestPartsAreThoseOfThePage: the script finds an element for each, whose content is what
// the page had.
func TestPartsAreThoseOfThePage(t *testing.T) {
	t.Parallel()
	for name, d := range states() {
		parts, err := Parts(d)
		if err != nil {
			t.Fatal(err)
		}
		text := write(t, d)
		var ids []string
		for _, p := range parts {
			ids = append(ids, p.ID)
			if !strings.Contains(text, ` id="`+p.ID+`"`) || !strings.Contains(text, ">"+p.HTML+"<") {
				t.Errorf("%s: the page does not have the part %s", name, p.ID)
			}
		}
		if !slices.Equal(ids, partIDs) {
			t.Errorf("%s: the parts are %v", name, ids)
		}
	}
}

func TestPlotHasAGapWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	d := healthy()
	for i := range d.Status.StalenessHistory {
		if i >= 60 && i < 80 {
			d.Status.StalenessHistory[i].StalenessMS = nil
		}
	}
	if p := d.StalenessPlot(); len(p.Lines) != 2 || p.LimitY <= 0 {
		t.Errorf("the plot is %+v", p)
	}
	d.Status.StalenessHistory = nil
	if p := d.StalenessPlot(); p != nil {
		t.Errorf("the plot of nothing is %+v", p)
	}
}

func TestAgesForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 3*time.Hour + 5*time.Minute: "3 h 5 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := longAge(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d: got %q", n, got)
		}
	}
}

// TestTheLastOutageIsShown: the person on call comes to the page when all is well again.
func TestTheLastOutageIsShown(t *testing.T) {
	t.Parallel()
	d := healthy()
	d.Status.LastOutage = &api.Outage{EndedAt: *ago(time.Hour), TookMS: 184800, DownMS: 122000}
	if text := write(t, d); !strings.Contains(text, "The last outage ended at 2026-11-30 02:12:05 UTC. It took 3 min 4 s; for 2 min 2 s of it this instance was down.") {
		t.Error(text)
	}
	d.Status.LastOutage.DownMS = 0
	if text := write(t, d); !strings.Contains(text, "It took 3 min 4 s; this instance was stale, and not down.") {
		t.Error(text)
	}
}

// TestListsThatWereNeverReadSayNothing: the page is opened for the first time in an outage.
func TestListsThatWereNeverReadSayNothing(t *testing.T) {
	t.Parallel()
	d := states()["down"]
	d.Fleet, d.Audit = &Fleet{Failed: true}, &Audit{Failed: true}
	text := write(t, d)
	for _, wrong := range []string{"Number of instances", "There are no entries"} {
		if strings.Contains(text, wrong) {
			t.Errorf("nothing was read, and the page says %q", wrong)
		}
	}
	if strings.Count(text, "The list could not be read from MongoDB.") != 2 {
		t.Error(text)
	}
}

// TestUsageInAnOutage: nobody should look for privileges while MongoDB is away.
func TestUsageInAnOutage(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{"down": "This follows from the outage", "stale": "This follows from the outage", "live": "the privilege update"} {
		d := states()[state]
		d.Status.Usage.FailingMS = point(int64(57000))
		if text := write(t, d); !strings.Contains(text, want) || strings.Contains(text, "the privilege update") != (state == "live") {
			t.Errorf("%s: want %q in %s", state, want, text)
		}
	}
}

// TestTheLabelOfThePlotIsNotStruckThrough by the axis, after a long outage.
func TestTheLabelOfThePlotIsNotStruckThrough(t *testing.T) {
	t.Parallel()
	for _, highest := range []int64{400, 20_000, 120_000, 600_000} {
		d := healthy()
		d.Status.StalenessHistory[100].StalenessMS = point(highest)
		p := d.StalenessPlot()
		if y, err := strconv.ParseFloat(p.LimitLabelY(), 64); err != nil || y > float64(p.Height)-4 || y < 10 {
			t.Errorf("%d ms: the base line of the label is %s, that of the axis %d", highest, p.LimitLabelY(), p.Height)
		}
	}
}
