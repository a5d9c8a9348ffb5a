package mongoclient

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/address"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func described(servers ...event.ServerDescription) *event.TopologyDescriptionChangedEvent {
	return &event.TopologyDescriptionChangedEvent{NewDescription: event.TopologyDescription{Servers: servers}}
}

func server(addr, kind string) event.ServerDescription {
	return event.ServerDescription{Addr: address.Address(addr), Kind: kind}
}

// TestMembersKeepTheirLastError until the server answers again or leaves the set.
func TestMembersKeepTheirLastError(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	s := &Settings{members: &members{all: map[string]*Member{}}}
	m := s.members
	m.changed(described(server("b:27017", "RSPrimary"), server("[::1]:27017", "Unknown"), server("a:27017", "RSGhost")))
	m.failed(&event.ServerHeartbeatFailedEvent{ConnectionID: "[::1]:27017[-13]", Failure: errors.New("connection refused")}, at)
	m.failed(&event.ServerHeartbeatFailedEvent{ConnectionID: "stranger:27017[-1]", Failure: errors.New("is in no set")}, at)
	m.succeeded(&event.ServerHeartbeatSucceededEvent{Reply: server("b:27017", "RSPrimary")}, at)
	want := []Member{
		{Address: "[::1]:27017", Role: "unknown", Err: "connection refused", FailedAt: at},
		{Address: "a:27017", Role: "other"},
		{Address: "b:27017", Role: "primary", LastSeen: at},
	}
	if diff := cmp.Diff(want, s.Members()); diff != "" {
		t.Errorf("the members (-want +got):\n%s", diff)
	}
	m.changed(described(server("b:27017", "RSSecondary"), server("[::1]:27017", "RSPrimary")))
	m.succeeded(&event.ServerHeartbeatSucceededEvent{Reply: server("[::1]:27017", "RSPrimary")}, at)
	want = []Member{
		{Address: "[::1]:27017", Role: "primary", LastSeen: at},
		{Address: "b:27017", Role: "secondary", LastSeen: at},
	}
	if diff := cmp.Diff(want, s.Members()); diff != "" {
		t.Errorf("the members after an election (-want +got):\n%s", diff)
	}
}

// TestMembersOfARealClient: the events come with the names that the code expects, also in a
// URI that names no set.
func TestMembersOfARealClient(t *testing.T) {
	t.Parallel()
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	for _, query := range []string{"replicaSet=devmongo", "directConnection=true", "serverSelectionTimeoutMS=1000"} {
		uri := with(node, query)
		s := settings(t, uri)
		if _, err := Hello(testContext(t), client(t, s, uri)); err != nil {
			t.Fatal(err)
		}
		all := s.Members()
		if len(all) != 1 || all[0].Role != "primary" || all[0].LastSeen.IsZero() || all[0].Err != "" {
			t.Errorf("%s: the members are %+v", query, all)
		}
	}
}
