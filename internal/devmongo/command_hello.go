package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// release is a version that this server can report.
type release struct {
	text        string
	array       bson.A
	wireVersion int32
}

var (
	release70 = release{"7.0.0", bson.A{int32(7), int32(0), int32(0), int32(0)}, 21}
	release44 = release{"4.4.1", bson.A{int32(4), int32(4), int32(1), int32(0)}, 9}
)

func (s *Server) reportedRelease() release {
	if s.cfg.Release44 {
		return release44
	}
	return release70
}

func hello(o *op) (bson.D, error) {
	legacy := o.s.cfg.Release44
	if legacy && o.name == "hello" {
		return nil, refuse(codeCommandNotFound, "no such command: 'hello'")
	}
	if client, ok := field(o.a.doc, "client").(bson.D); ok {
		app, _ := field(client, "application").(bson.D)
		o.c.appName, _ = field(app, "name").(string)
	}
	s, addr := o.s, o.s.Addr().String()
	primary := s.steppedDown == nil
	d := bson.D{}
	if !legacy {
		d = bson.D{{Key: "helloOk", Value: true}}
	}
	if o.name == "hello" {
		d = append(d, bson.E{Key: "isWritablePrimary", Value: primary})
	} else {
		d = append(d, bson.E{Key: "ismaster", Value: primary})
	}
	d = append(d, bson.D{
		{Key: "hosts", Value: append([]string{addr}, s.cfg.OtherMembers...)},
		{Key: "setName", Value: setName},
		{Key: "setVersion", Value: int32(1)},
		{Key: "secondary", Value: !primary},
		{Key: "me", Value: addr},
	}...)
	if primary {
		d = append(d, bson.E{Key: "primary", Value: addr}, bson.E{Key: "electionId", Value: s.electionID})
	}
	return append(d, s.limits(o.c)...), nil
}

func (s *Server) limits(c *conn) bson.D {
	return bson.D{
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)},
		{Key: "maxMessageSizeBytes", Value: int32(maxMessage)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "localTime", Value: bson.NewDateTimeFromTime(s.wallNow())},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)},
		{Key: "connectionId", Value: c.id},
		{Key: "minWireVersion", Value: int32(0)},
		{Key: "maxWireVersion", Value: s.reportedRelease().wireVersion},
		{Key: "readOnly", Value: false},
		{Key: "ok", Value: 1.0},
	}
}

func buildInfo(o *op) (bson.D, error) {
	return bson.D{
		{Key: "version", Value: o.s.reportedRelease().text},
		{Key: "versionArray", Value: o.s.reportedRelease().array},
		{Key: "gitVersion", Value: "devmongo"},
		{Key: "modules", Value: bson.A{}},
		{Key: "bits", Value: int32(64)},
		{Key: "debug", Value: false},
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)},
		{Key: "storageEngines", Value: bson.A{"devmongo"}},
		{Key: "ok", Value: 1.0},
	}, o.a.finish()
}
