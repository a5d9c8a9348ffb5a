package routes

import (
	"context"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/statuspage"
	"github.com/keytail/keytail/internal/webui"
)

// pathAsset is Gin's path of the files that pages load.
const pathAsset = webui.PathAssets + ":file"

const (
	// listsInterval is between two readings of the lists from the database, for all viewers
	// together.
	listsInterval = 5 * time.Second
	// listsTimeout is how long a page waits for them: in an outage it must come at once.
	listsTimeout = time.Second
	// auditEntries is how many entries of the audit the page shows.
	auditEntries = 10
)

func asset(c *gin.Context) {
	if !webui.WriteAsset(c.Writer, c.Param("file")) {
		writeProblem(c, api.CodeNoSuchPath, "this path does not exist")
	}
}

// page shows the status to people.
func (a *admin) page(c *gin.Context) {
	data := a.pageData(c)
	if err := statuspage.Write(c.Writer, data, *a.view(c, "", nil)); err != nil {
		panic(err) // a bug of the template: recovery answers
	}
}

// pageData is what the page shows to the caller of a request.
func (a *admin) pageData(c *gin.Context) *statuspage.Data {
	fleet, audit := a.lists.read(c.Request.Context(), a, time.Now())
	return &statuspage.Data{Status: a.currentStatus(), Now: time.Now(), Fleet: fleet, Audit: audit}
}

// pageLists are the parts of the page that are read from the database. The last ones that
// were read are shown while it does not answer. The zero value has none.
type pageLists struct {
	mutex sync.Mutex
	fleet *statuspage.Fleet
	audit *statuspage.Audit
	// next is when they are read again.
	next time.Time
	// reading: one request reads them, and the others do not wait for it.
	reading bool
}

// read returns the lists, and reads them first if it is time. Nil: the listener does not
// have them.
func (l *pageLists) read(ctx context.Context, a *admin, now time.Time) (*statuspage.Fleet, *statuspage.Audit) {
	if l.begin(now) {
		fleet, audit := l.fresh(ctx, a)
		l.end(fleet, audit)
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.fleet, l.audit
}

func (l *pageLists) begin(now time.Time) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.reading || now.Before(l.next) {
		return false
	}
	l.reading, l.next = true, now.Add(listsInterval)
	return true
}

func (l *pageLists) end(fleet *statuspage.Fleet, audit *statuspage.Audit) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.fleet, l.audit, l.reading = fleet, audit, false
}

// fresh reads both lists at the same time. Only the request that has begun calls it.
func (l *pageLists) fresh(ctx context.Context, a *admin) (fleet *statuspage.Fleet, audit *statuspage.Audit) {
	// A viewer that leaves must not make the lists of the others old.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listsTimeout)
	defer cancel()
	l.mutex.Lock()
	lastFleet, lastAudit := l.fleet, l.audit
	l.mutex.Unlock()
	var group errgroup.Group
	group.Go(func() error {
		fleet = a.readFleet(ctx, lastFleet)
		return nil
	})
	group.Go(func() error {
		audit = a.readAudit(ctx, lastAudit)
		return nil
	})
	_ = group.Wait() // neither fails: what could not be read says so itself
	return fleet, audit
}

func (a *admin) readFleet(ctx context.Context, last *statuspage.Fleet) *statuspage.Fleet {
	if a.Syncer == nil {
		return nil
	}
	all, err := a.Syncer.Instances(ctx)
	if err == nil {
		return &statuspage.Fleet{Instances: instancesOf(all), AsOf: time.Now()}
	}
	failed := statuspage.Fleet{Failed: true}
	if last != nil {
		failed.Instances, failed.AsOf = last.Instances, last.AsOf
	}
	return &failed
}

func (a *admin) readAudit(ctx context.Context, last *statuspage.Audit) *statuspage.Audit {
	if a.Keys == nil {
		return nil
	}
	page, err := a.Keys.Audit(ctx, managedkey.Caller{}, managedkey.AuditQuery{Limit: auditEntries})
	if err == nil {
		audit := &statuspage.Audit{AsOf: time.Now()}
		for i := range page.Entries {
			audit.Entries = append(audit.Entries, auditEntryOf(&page.Entries[i]))
		}
		return audit
	}
	failed := statuspage.Audit{Failed: true}
	if last != nil {
		failed.Entries, failed.AsOf = last.Entries, last.AsOf
	}
	return &failed
}
