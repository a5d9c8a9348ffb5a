package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// wireAnomalies are events that no server sends today. The test changes devmongo's messages
// on their way to the service.
func wireAnomalies() []anomaly {
	return []anomaly{
		{
			name:    "unknown event type",
			shows:   []string{"LossUnknownType+LossNoToken"},
			covered: []string{"LossUnknownType"},
			stage:   changedEvent("\x02operationType\x00\x07\x00\x00\x00update\x00", "\x02operationType\x00\x07\x00\x00\x00modify\x00"),
		},
		{
			name:    "undecodable event",
			shows:   []string{"LossUndecodable+LossNoToken"},
			covered: []string{"LossUndecodable"},
			stage:   changedEvent("\x03updateDescription\x00", "\x03updateDescripshun\x00"),
		},
		{
			name:    "cursor that ends without an error",
			shows:   []string{"LossCursorEnded+LossNoToken"},
			covered: []string{"LossCursorEnded"},
			stage:   endedCursor,
		},
	}
}

// shim is a proxy between clients and a server that can change the server's messages.
type shim struct {
	listener net.Listener
	target   string
	// change gets each whole message, and may change but not resize it.
	change atomic.Pointer[func(message []byte)]
	group  sync.WaitGroup

	mutex  sync.Mutex
	conns  []net.Conn
	closed bool
}

// throughShim runs a service that reaches its server through a shim.
func throughShim(t *testing.T, scope string) (*fixture, *shim) {
	t.Helper()
	s, through := newShim(t, mongotest.StartDevmongo(t, devmongo.Config{}))
	return start(t, through.InScope(scope), staged), s
}

// newShim returns a shim in front of a server, and the server as clients reach it through the shim.
func newShim(t *testing.T, d *mongotest.Devmongo) (*shim, *mongotest.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shim{listener: listener, target: d.Node.Addr().String()}
	s.group.Go(s.accept)
	t.Cleanup(s.close)
	through := d.Server
	// A client that discovered the set would connect to the server directly.
	through.URI = "mongodb://" + listener.Addr().String() + "/?directConnection=true"
	return s, &through
}

func (s *shim) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", s.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		s.mutex.Lock()
		s.conns = append(s.conns, client, server)
		closed := s.closed
		s.mutex.Unlock()
		if closed {
			_, _ = client.Close(), server.Close()
			return
		}
		s.group.Go(func() { s.pump(client, func() error { _, err := io.Copy(server, client); return err }, server) })
		s.group.Go(func() { s.pump(server, func() error { return s.copyMessages(client, server) }, client) })
	}
}

// pump copies until one side has closed, and then closes both.
func (s *shim) pump(from net.Conn, copyAll func() error, to net.Conn) {
	_ = copyAll()
	_, _ = from.Close(), to.Close()
}

// copyMessages copies message by message. Each one begins with its length.
func (s *shim) copyMessages(to io.Writer, from io.Reader) error {
	var head [4]byte
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size < 16 || size > 64<<20 {
			return errors.New("no message of the wire protocol")
		}
		message := make([]byte, size)
		copy(message, head[:])
		if _, err := io.ReadFull(from, message[len(head):]); err != nil {
			return err
		}
		if change := s.change.Load(); change != nil {
			(*change)(message)
		}
		if _, err := to.Write(message); err != nil {
			return err
		}
	}
}

func (s *shim) close() {
	_ = s.listener.Close()
	s.mutex.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mutex.Unlock()
	s.group.Wait()
}

// once changes the first message that contains all of the parts.
func (s *shim) once(change func(message []byte), parts ...string) {
	var f func(message []byte)
	f = func(message []byte) {
		for _, part := range parts {
			if !bytes.Contains(message, []byte(part)) {
				return
			}
		}
		if s.change.CompareAndSwap(&f, nil) {
			change(message)
		}
	}
	s.change.Store(&f)
}

// changedEvent stages a revocation whose event arrives in another form.
func changedEvent(from, to string) stage {
	return func(t *testing.T, scope string) string {
		r, s := throughShim(t, scope)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.waitUntilCached(k)
		opens := r.metric("keytail_stream_opens_total")
		s.once(func(message []byte) {
			// Only in the event of the key: the batch may also contain a heartbeat's.
			event := bytes.LastIndex(message[:bytes.Index(message, []byte(k.id))], []byte("\x02operationType\x00"))
			copy(message[event+bytes.Index(message[event:], []byte(from)):], to)
		}, "nextBatch", k.id, from)
		r.set(k, "is_active", false)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_stream_opens_total") > opens }, "the event had no effect")
		return violation(r.validateSince(k, time.Now()), apikey.Disabled)
	}
}

// endedCursor stages a server that ends the stream's cursor in an ordinary
// response, as after an invalidate that the filter dropped.
func endedCursor(t *testing.T, scope string) string {
	r, s := throughShim(t, scope)
	k := r.newKey()
	r.waitForCode(k, apikey.Valid)
	r.waitUntilCached(k)
	// The stream continues, and cannot be opened again before the key is revoked.
	ended := failing(r, 10107, "aggregate")
	const id = "\x12id\x00"
	s.once(func(message []byte) {
		at := bytes.Index(message, []byte(id)) + len(id)
		clear(message[at : at+8])
	}, "nextBatch", id)
	ended.wait()
	r.set(k, "is_active", false)
	ended.mend()
	return violation(r.validateSince(k, time.Now()), apikey.Disabled)
}

// failing makes commands of the service fail with a code.
func failing(r *fixture, code int, commands ...any) *failure {
	r.t.Helper()
	f := &failure{r: r, data: bson.D{
		{Key: "failCommands", Value: bson.A(commands)},
		{Key: "errorCode", Value: code},
		{Key: "appName", Value: r.appName},
	}}
	f.arm("alwaysOn")
	return f
}

// holding makes commands of the service wait for a time.
func holding(r *fixture, by time.Duration, commands ...any) *failure {
	r.t.Helper()
	f := &failure{r: r, data: bson.D{
		{Key: "failCommands", Value: bson.A(commands)},
		{Key: "blockConnection", Value: true},
		{Key: "blockTimeMS", Value: by.Milliseconds()},
		{Key: "appName", Value: r.appName},
	}}
	f.arm("alwaysOn")
	return f
}

// failure is a failpoint that is on.
type failure struct {
	r    *fixture
	data bson.D
}

// wait returns when the failpoint has been hit.
func (f *failure) wait() {
	f.r.t.Helper()
	mongotest.Eventually(f.r.t, testkit.WaitTimeout, func() bool { return f.arm("alwaysOn") > 0 }, "no command fails")
}

func (f *failure) mend() { f.arm("off") }

// arm sets the mode, and returns how often the previous failpoint was hit.
func (f *failure) arm(mode string) int {
	f.r.t.Helper()
	var reply struct{ Count int }
	err := f.r.db.Client().Database("admin").RunCommand(f.r.t.Context(), bson.D{
		{Key: "configureFailPoint", Value: "failCommand"},
		{Key: "mode", Value: mode},
		{Key: "data", Value: f.data},
	}).Decode(&reply)
	if err != nil {
		f.r.t.Fatal(err)
	}
	return reply.Count
}
