package mongoclient

import (
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Member is a server of the deployment as the driver's monitor sees it, for people.
type Member struct {
	// Address is the host and port.
	Address string
	// Role is primary, secondary, arbiter, mongos, standalone, other (such as a member that
	// recovers), or unknown: it does not answer.
	Role string
	// LastSeen is when it last answered the monitor. Zero: never.
	LastSeen time.Time
	// Err is why the last check failed, and FailedAt when. Empty: it did not fail. As in
	// the log, the driver's errors have no secrets.
	Err      string
	FailedAt time.Time
}

// roles maps the driver's kinds of servers to the words of MongoDB's manual.
var roles = map[string]string{
	"RSPrimary": "primary", "RSSecondary": "secondary", "RSArbiter": "arbiter", "RSMember": "other", "RSGhost": "other",
	"Mongos": "mongos", "Standalone": "standalone",
}

// members remembers what the monitor of each server reports.
type members struct {
	mutex sync.Mutex
	// all maps an address to its member. The topology decides which there are.
	all map[string]*Member
}

// Members are the servers that the client knows, sorted by address. It sends nothing, so it
// answers in an outage. Safe for concurrent use.
func (s *Settings) Members() []Member {
	s.members.mutex.Lock()
	defer s.members.mutex.Unlock()
	all := make([]Member, 0, len(s.members.all))
	for _, m := range s.members.all {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// watchServers adds the monitor of the servers to the options.
func (s *Settings) watchServers(opts *options.ClientOptions) {
	s.names = newSetNames(opts)
	s.members = &members{all: map[string]*Member{}}
	opts.SetServerMonitor(&event.ServerMonitor{
		TopologyDescriptionChanged: s.members.changed,
		ServerHeartbeatFailed:      func(e *event.ServerHeartbeatFailedEvent) { s.members.failed(e, time.Now()) },
		ServerHeartbeatSucceeded: func(e *event.ServerHeartbeatSucceededEvent) {
			s.names.succeeded(e)
			s.members.succeeded(e, time.Now())
		},
	})
}

// changed takes over which servers there are, and their roles.
func (m *members) changed(e *event.TopologyDescriptionChangedEvent) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	known := map[string]*Member{}
	for i := range e.NewDescription.Servers {
		server := &e.NewDescription.Servers[i]
		address := server.Addr.String()
		member := m.all[address]
		if member == nil {
			member = &Member{Address: address}
		}
		if member.Role = roles[server.Kind]; member.Role == "" {
			member.Role = "unknown"
		}
		known[address] = member
	}
	m.all = known
}

func (m *members) succeeded(e *event.ServerHeartbeatSucceededEvent, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if member := m.all[e.Reply.Addr.String()]; member != nil {
		member.LastSeen, member.Err, member.FailedAt = now, "", time.Time{}
	}
}

func (m *members) failed(e *event.ServerHeartbeatFailedEvent, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if member := m.all[AddressOf(e.ConnectionID)]; member != nil {
		member.Err, member.FailedAt = e.Failure.Error(), now
	}
}

// AddressOf is the address in the driver's id of a connection, such as mongo1:27017 in
// mongo1:27017[-13]. An IPv6 address has brackets, too.
func AddressOf(connection string) string {
	if end := strings.LastIndex(connection, "[-"); end >= 0 {
		return connection[:end]
	}
	return connection
}
