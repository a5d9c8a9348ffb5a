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

// The times that checks may take. A server that needs longer is no good for
// answering within max_stale.
const (
	checkTimeout = 5 * time.Second
	// surveyTimeout is for reading a thousand documents over a bad line.
	surveyTimeout = 15 * time.Second
)

// Heartbeats are where an instance writes its own. A changestream.Heartbeater is one.
type Heartbeats interface {
	// Prepare makes the collection and its index, and writes one document.
	Prepare(ctx context.Context) error
}

// Stream is the change stream of the keys. A changestream.Tail is one.
type Stream interface {
	// Try opens it as serve does, and closes it.
	Try(ctx context.Context) error
}

// Usage writes down the use of keys. A usage.Usage is one.
type Usage interface {
	// Prepare asks whether it may.
	Prepare(ctx context.Context) error
}

// Config says what is looked at. Store, Heartbeats and Stream are required.
type Config struct {
	Store      *keystore.Store
	Heartbeats Heartbeats
	Stream     Stream
	// Usage is nil where the use of keys is not written down.
	Usage Usage
	// EnsureSchema: serve will create what is missing, so that it is no more than
	// a warning.
	EnsureSchema bool
	// Lists: the admin API is on, so that an index for its lists is recommended.
	Lists bool
	// CacheSizeMiB and Preload are serve's. Zero: its defaults.
	CacheSizeMiB int
	Preload      preload.Mode
	// Version is keytail's.
	Version string
}

// examination is one run.
type examination struct {
	Config
	see    func(Check)
	report Report
	// survey is what the documents check found, nil before.
	survey *keystore.Survey
	// entries is how much of the cache the documents looked at take, in bytes.
	entries int64
}

// Examine makes all checks in their order, and calls see (nil: nobody) after
// each. It ends when ctx does: checks that are left are not tried.
func Examine(ctx context.Context, config Config, see func(Check)) Report {
	e := &examination{Config: config, see: see, report: Report{OK: true, Version: config.Version}}
	deployment, reached := e.deployment(ctx)
	if !reached {
		e.skip("there is no primary to ask", "version", "clock", "collection", "index", "documents", "linearizable", "heartbeats", "stream", "usage", "memory")
		return e.report
	}
	e.version(ctx)
	e.clock(deployment)
	switch there, later := e.collection(ctx); {
	case there:
		e.index(ctx)
		e.documents(ctx)
		e.linearizable(ctx)
	case later:
		e.later("index", "documents", "linearizable")
		e.survey = &keystore.Survey{}
	default:
		// A wrong name must not get collections of ours.
		e.skip("the collection cannot be read", "index", "documents", "linearizable", "heartbeats", "stream", "usage", "memory")
		return e.report
	}
	e.try(ctx, "heartbeats", e.Heartbeats.Prepare, "a heartbeat can be written, and the index that removes dead instances is there")
	e.try(ctx, "stream", e.Stream.Try, "the change stream opens")
	e.usage(ctx)
	e.memory()
	return e.report
}

func (e *examination) add(name string, status Status, detail string, more ...string) {
	e.report.add(Check{Name: name, Status: status, Detail: detail, More: more}, e.see)
}

func (e *examination) skip(why string, names ...string) {
	for _, name := range names {
		e.add(name, NotTried, why)
	}
}

// later is for what serve makes itself.
func (e *examination) later(names ...string) {
	for _, name := range names {
		e.add(name, Warning, "serve will create the collection first")
	}
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

// deployment reports whether there is a primary to ask anything else.
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

// oldest is the first version whose change streams are what keytail was designed
// on (MONGODB.md's facts were measured on it).
var oldest = [2]int{4, 4}

func (e *examination) version(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	version, err := e.Store.Version(ctx)
	if err != nil {
		e.add("version", ToDo, err.Error())
		return
	}
	status, detail := judgeVersion(version)
	e.add("version", status, detail)
}

func judgeVersion(version string) (Status, string) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return Warning, fmt.Sprintf("the server calls its version %q, which is not of the form 8.0.4", version)
	}
	if major < oldest[0] || major == oldest[0] && minor < oldest[1] {
		return ToDo, fmt.Sprintf("the server is version %s: keytail needs %d.%d or later", version, oldest[0], oldest[1])
	}
	return OK, "MongoDB " + version
}

// The clock offsets that are worth a word: expires_at is held against this
// machine's clock, and was most likely written by another one's.
const (
	offsetWarning = time.Second
	offsetToDo    = time.Minute
)

func (e *examination) clock(d keystore.Deployment) {
	status, detail := judgeClock(d)
	e.add("clock", status, detail)
}

// judgeClock: somewhere between question and answer the server looked at its
// clock, of which it says milliseconds.
func judgeClock(d keystore.Deployment) (Status, string) {
	if d.LocalTime.IsZero() {
		return Warning, "the server does not say what time it is"
	}
	offset := d.LocalTime.Sub(d.Asked.Add(d.Took / 2)).Abs()
	unsure := d.Took/2 + time.Millisecond
	detail := fmt.Sprintf("this machine's clock is %v away from the server's, ±%v", offset.Round(time.Millisecond), unsure.Round(time.Millisecond))
	switch sure := offset - unsure; {
	case sure > offsetToDo:
		return ToDo, detail + ": keys expire by this machine's clock, so set it right (NTP)"
	case sure > offsetWarning:
		return Warning, detail + ": keys expire by this machine's clock"
	}
	return OK, detail
}

// collection reports whether it is there, or will be.
func (e *examination) collection(ctx context.Context) (there, later bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := e.Store.Inspect(ctx)
	switch {
	case errors.Is(err, keystore.ErrCollectionMissing) && e.EnsureSchema:
		e.add("collection", Warning, "the collection is missing, serve will create it (--ensure-schema)")
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
		e.add("index", Warning, err.Error()+" (serve creates it where there is none on the hash: --ensure-schema)")
	case err != nil:
		e.add("index", ToDo, err.Error())
	default:
		e.add("index", OK, fmt.Sprintf("%s has a unique index that a look-up can use", hash), e.listIndex(ctx)...)
	}
}

// listIndex recommends one where it is missing and of use.
func (e *examination) listIndex(ctx context.Context) []string {
	if !e.Lists {
		return nil
	}
	if err := e.Store.PrepareListIndex(ctx, false); err != nil {
		return []string{"recommended: " + err.Error()}
	}
	return nil
}

// documents tries the mapping.
func (e *examination) documents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	found, err := e.Store.SurveyEach(ctx, keystore.DefaultSurvey, func(d keystore.Document) {
		e.entries += int64(keycache.EntryBytes(&d.Record))
	})
	if err != nil {
		e.add("documents", ToDo, err.Error())
		return
	}
	e.survey = found
	more := linesOf(found)
	switch refusal, warnings := found.StartError(), found.Warnings(); {
	case refusal != nil:
		e.add("documents", ToDo, refusal.Error(), more...)
	case len(warnings) > 0:
		e.add("documents", Warning, summary(found), append(warnings, more...)...)
	default:
		e.add("documents", OK, summary(found), more...)
	}
}

func summary(s *keystore.Survey) string {
	if s.Documents == 0 {
		return "the collection is empty, so the mapping could not be tried"
	}
	return fmt.Sprintf("%s of %d looked at, %d in all: %d can be used now, %d switched off, %d expired, %d cannot be read as keys",
		count(s.Keys, "key"), s.Documents, s.Total, s.Keys-s.Inactive-s.Expired, s.Inactive, s.Expired, s.Broken())
}

// linesOf names what a person would look for: documents that would be DISABLED,
// hashes of different kinds, and fields that nothing was made of.
func linesOf(s *keystore.Survey) []string {
	var lines []string
	for _, g := range s.Defects {
		lines = append(lines, fmt.Sprintf("DISABLED: %s in %s", g.What, named(g)))
	}
	if len(s.Hashes) > 1 {
		for _, g := range s.Hashes {
			lines = append(lines, fmt.Sprintf("the hash field holds %s in %s", g.What, named(g)))
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

// linearizable tries the read that answers when memory is too old. Nobody has
// this hash: a SHA-256 of zeros has never been seen.
func (e *examination) linearizable(ctx context.Context) {
	e.try(ctx, "linearizable", func(ctx context.Context) error {
		_, _, err := e.Store.FindLinearizable(ctx, apikey.Hash{})
		return err
	}, "a linearizable read is answered, so there is a majority")
}

// usage is a convenience: keytail starts without it.
func (e *examination) usage(ctx context.Context) {
	if e.Usage == nil {
		e.add("usage", OK, "the use of keys is not to be written down")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := e.Usage.Prepare(ctx); err != nil {
		e.add("usage", Warning, err.Error())
		return
	}
	e.add("usage", OK, "the use of keys can be written down")
}

// memory says whether all keys will fit.
func (e *examination) memory() {
	switch {
	case e.survey == nil:
		e.skip("the documents could not be looked at", "memory")
		return
	case e.survey.Documents == 0:
		e.add("memory", OK, "the collection is empty, so there is nothing to hold yet")
		return
	}
	each := e.entries / int64(e.survey.Documents)
	need := each * max(e.survey.Total, int64(e.survey.Documents))
	room := keycache.GenerationBytes(e.CacheSizeMiB, e.Preload != preload.Off)
	detail := fmt.Sprintf("%d keys of about %d bytes take %s of the %s that --cache-size leaves for them", max(e.survey.Total, int64(e.survey.Documents)), each, mebibytes(need), mebibytes(room))
	switch {
	case e.Preload == preload.Off:
		e.add("memory", OK, detail+"; --preload off: only keys that are asked for are held")
	case need > room && e.Preload == preload.On:
		e.add("memory", ToDo, detail+": they do not fit, give a larger --cache-size, or --preload auto")
	case need > room:
		e.add("memory", Warning, detail+": they do not fit, so that an unknown key will cost a read; a larger --cache-size holds them all")
	default:
		e.add("memory", OK, detail)
	}
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
