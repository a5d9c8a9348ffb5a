package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/preload"
)

// Timeouts of checks. A server that needs longer cannot answer within max_stale.
const (
	checkTimeout = 5 * time.Second
	// surveyTimeout is for reading a thousand documents over a slow connection.
	surveyTimeout = 15 * time.Second
)

// Heartbeats writes the heartbeats of an instance. A changestream.Heartbeater is
// one.
type Heartbeats interface {
	// Prepare creates the collection and its index, and writes one document.
	Prepare(ctx context.Context) error
}

// Stream is the change stream of the keys. A changestream.Tail is one.
type Stream interface {
	// Try opens it as serve does, and closes it.
	Try(ctx context.Context) error
}

// Usage writes the usage of keys. A usage.Recorder is one.
type Usage interface {
	// Prepare checks whether it may.
	Prepare(ctx context.Context) error
}

// Config is what to check. Store, Heartbeats and Stream are required.
type Config struct {
	Store      *keystore.Store
	Heartbeats Heartbeats
	Stream     Stream
	// Usage is nil if keytail does not write the usage of keys.
	Usage Usage
	// EnsureSchema: serve will create what is missing, so that it is only a
	// warning.
	EnsureSchema bool
	// Lists: the admin API is enabled, so that an index for its lists is
	// recommended, and it matters which fields it does not write.
	Lists bool
	// CacheSizeMiB and Preload are those of serve. Zero: its defaults.
	CacheSizeMiB int
	Preload      preload.Mode
	// Version is keytail's.
	Version string
}

// examination is one run.
type examination struct {
	Config
	onCheck func(Check)
	report  Report
	// survey is the result of the documents check. Nil: it has not run.
	survey *keystore.Survey
	// entries is how many bytes of the cache the surveyed documents take.
	entries int64
}

// Examine makes all checks in their order, and calls onCheck, which may be nil,
// after each. When ctx ends, the remaining checks are not tried.
func Examine(ctx context.Context, config Config, onCheck func(Check)) Report {
	e := &examination{Config: config, onCheck: onCheck, report: Report{OK: true, Version: config.Version}}
	deployment, reached := e.deployment(ctx)
	if !reached {
		e.skip("no primary is reachable", "version", "clock", "collection", "index", "documents", "linearizable", "heartbeats", "stream", "usage", "memory")
		return e.report
	}
	e.version(ctx)
	e.clock(deployment)
	e.hash()
	switch exists, willExist := e.collection(ctx); {
	case exists:
		e.index(ctx)
		e.documents(ctx)
		e.linearizable(ctx)
	case willExist:
		e.createdLater("index")
		e.createdLater("documents", e.Store.Schema().Warnings()...)
		e.createdLater("linearizable")
		e.survey = &keystore.Survey{}
	default:
		// A misspelt database must not get keytail's collections.
		e.skip("the collection cannot be read", "index", "documents", "linearizable", "heartbeats", "stream", "usage", "memory")
		return e.report
	}
	e.try(ctx, "heartbeats", e.Heartbeats.Prepare, "a heartbeat can be written, and the index that removes old heartbeats exists")
	e.try(ctx, "stream", e.Stream.Try, "the change stream opens")
	e.usage(ctx)
	e.memory()
	return e.report
}

func (e *examination) add(name string, status Status, detail string, more ...string) {
	e.report.add(Check{Name: name, Status: status, Detail: detail, More: more}, e.onCheck)
}

func (e *examination) skip(why string, names ...string) {
	for _, name := range names {
		e.add(name, NotTried, why)
	}
}

// createdLater is for a check of what serve creates itself.
func (e *examination) createdLater(name string, more ...string) {
	e.add(name, Warning, "serve will create the collection first", more...)
}

// try makes a check that is one call.
func (e *examination) try(ctx context.Context, name string, f func(context.Context) error, fine string) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		e.add(name, ToDo, err.Error())
		return false
	}
	e.add(name, OK, fine)
	return true
}

// deployment reports whether there is a primary for the other checks.
func (e *examination) deployment(ctx context.Context) (keystore.Deployment, bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	d, err := e.Store.CheckDeployment(ctx)
	switch {
	case errors.Is(err, keystore.ErrStandalone), errors.Is(err, keystore.ErrNotPrimary):
		e.add("deployment", ToDo, err.Error())
		return d, true
	case err != nil:
		e.add("deployment", ToDo, err.Error())
		return d, false
	case d.Sharded():
		e.add("deployment", Warning, keystore.Sharded)
		return d, true
	}
	detail := fmt.Sprintf("replica set %s, %s, primary %s, answered in %v", d.SetName, count(len(d.Hosts), "member"), d.Me, d.Took.Round(100*time.Microsecond))
	e.add("deployment", OK, detail)
	return d, true
}

// oldest is the first version with the change streams that keytail relies on
// (docs/mongodb.md).
var oldest = [2]int{4, 4}

func (e *examination) version(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	version, err := e.Store.Version(ctx)
	if err != nil {
		e.add("version", ToDo, err.Error())
		return
	}
	status, detail := versionStatus(version)
	e.add("version", status, detail)
}

func versionStatus(version string) (Status, string) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return Warning, fmt.Sprintf("the server reports the version %q, which does not have the form 8.0.4", version)
	}
	if major < oldest[0] || major == oldest[0] && minor < oldest[1] {
		return ToDo, fmt.Sprintf("the server is version %s: keytail needs %d.%d or later", version, oldest[0], oldest[1])
	}
	return OK, "MongoDB " + version
}

// The clock offsets to report: expires_at is compared with the clock of this machine,
// and most likely another one wrote it.
const (
	offsetWarning = time.Second
	offsetToDo    = time.Minute
)

func (e *examination) clock(d keystore.Deployment) {
	status, detail := clockStatus(d)
	e.add("clock", status, detail)
}

// clockStatus compares the clocks: the server read its own at some time between
// request and response, and reports milliseconds.
func clockStatus(d keystore.Deployment) (Status, string) {
	if d.LocalTime.IsZero() {
		return Warning, "the server does not report its time"
	}
	offset := d.LocalTime.Sub(d.RequestedAt.Add(d.Took / 2)).Abs()
	unsure := d.Took/2 + time.Millisecond
	detail := fmt.Sprintf("this machine's clock differs from the server's by %v, ±%v", offset.Round(time.Millisecond), unsure.Round(time.Millisecond))
	switch sure := offset - unsure; {
	case sure > offsetToDo:
		return ToDo, detail + ": keys expire by this machine's clock, so synchronize it (NTP)"
	case sure > offsetWarning:
		return Warning, detail + ": keys expire by this machine's clock"
	}
	return OK, detail
}

// collection reports whether the collection exists, or will exist.
func (e *examination) collection(ctx context.Context) (exists, willExist bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := e.Store.Inspect(ctx)
	switch {
	case errors.Is(err, keystore.ErrCollectionMissing) && e.EnsureSchema:
		e.add("collection", Warning, "the collection does not exist; serve will create it (--ensure-schema)")
		return false, true
	case err != nil:
		e.add("collection", ToDo, err.Error())
		return false, false
	}
	e.add("collection", OK, e.Store.Namespace()+" is a plain collection")
	return true, false
}

func (e *examination) index(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := e.Store.CheckIndex(ctx)
	switch hash := e.Store.Schema().Hash; {
	case errors.Is(err, keystore.ErrNoUniqueIndex) && e.EnsureSchema:
		e.add("index", Warning, err.Error()+" (serve creates it if the hash has no index: --ensure-schema)")
	case err != nil:
		e.add("index", ToDo, err.Error())
	default:
		e.add("index", OK, fmt.Sprintf("%s has a unique index that queries can use", hash), e.listIndexes(ctx)...)
	}
}

// listIndexes recommends indexes that are missing and useful.
func (e *examination) listIndexes(ctx context.Context) []string {
	if !e.Lists {
		return nil
	}
	if err := e.Store.CheckListIndexes(ctx); err != nil {
		return []string{"recommended: " + err.Error()}
	}
	return nil
}

// documents checks the mapping against documents.
func (e *examination) documents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	found, err := e.Store.SurveyEach(ctx, keystore.DefaultSurvey, func(d keystore.Document) {
		e.entries += int64(keycache.EntryBytes(d.ID, &d.Record, e.Preload != preload.Off))
	})
	if err != nil {
		e.add("documents", ToDo, err.Error())
		return
	}
	e.survey = found
	more := surveyLines(found)
	contradicts := e.Store.Schema().Warnings()
	refusal, warnings := found.StartError(), append(contradicts, found.Warnings()...)
	if e.Lists {
		warnings = append(warnings, found.NotWritten()...)
	} else {
		more = append(more, found.NotWritten()...)
	}
	switch {
	case refusal != nil:
		e.add("documents", ToDo, refusal.Error(), append(contradicts, more...)...)
	case len(warnings) > 0:
		e.add("documents", Warning, summary(found), append(warnings, more...)...)
	default:
		e.add("documents", OK, summary(found), more...)
	}
}

func summary(s *keystore.Survey) string {
	if s.Documents == 0 {
		return "the collection is empty, so the mapping could not be checked"
	}
	return fmt.Sprintf("%s in %s, %d in all: %d valid now, %d disabled, %d expired, %d cannot be read as keys",
		count(s.Keys, "key"), count(s.Documents, "surveyed document"), s.Total, s.Keys-s.Inactive-s.Expired, s.Inactive, s.Expired, s.Broken())
}

// surveyLines lists what a person looks for: documents that would be DISABLED,
// hashes of different kinds, and fields without a role.
func surveyLines(s *keystore.Survey) []string {
	var lines []string
	for _, g := range s.Defects {
		what := "DISABLED: "
		if g.Unfindable == g.Count {
			what = "never found: "
		}
		lines = append(lines, fmt.Sprintf("%s%s in %s", what, g.What, named(g)))
	}
	if len(s.Hashes) > 1 {
		for _, g := range s.Hashes {
			holds := "holds " + g.What
			if g.What == string(keystore.ShapeMissing) {
				holds = "is missing or null"
			}
			lines = append(lines, fmt.Sprintf("the hash field %s in %s", holds, named(g)))
		}
	}
	absent := false
	for _, f := range s.Fields {
		absent = absent || s.Documents > 0 && f.Present == 0
	}
	if absent && len(s.Others) > 0 {
		lines = append(lines, "fields without a role: "+strings.Join(s.Others, ", "))
	}
	return lines
}

func named(g keystore.SurveyGroup) string {
	text := count(g.Count, "document")
	if len(g.IDs) == 0 {
		return text
	}
	text += ": " + strings.Join(g.IDs, ", ")
	if g.Count > len(g.IDs) {
		text += ", …"
	}
	return text
}

// linearizable tries the read that answers when the cache is too old. No key has
// this hash: no input with a SHA-256 of zeros is known.
func (e *examination) linearizable(ctx context.Context) {
	e.try(ctx, "linearizable", func(ctx context.Context) error {
		_, _, err := e.Store.FindLinearizable(ctx, apikey.Hash{})
		return err
	}, "a linearizable read succeeds, so there is a majority")
}

// usage is optional: keytail starts without it.
func (e *examination) usage(ctx context.Context) {
	if e.Usage == nil {
		e.add("usage", OK, "the usage of keys is not written: it is off (--track-usage=false), or the mapping has no field for it")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := e.Usage.Prepare(ctx); err != nil {
		e.add("usage", Warning, err.Error())
		return
	}
	e.add("usage", OK, "the usage of keys can be written")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
