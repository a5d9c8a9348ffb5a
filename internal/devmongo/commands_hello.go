package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// The version that this server claims: that of MongoDB 7.0, wire version 21.
const (
	version        = "7.0.0"
	maxWireVersion = 21
)

func hello(o *op) (bson.D, error) {
	if client, ok := field(o.a.doc, "client").(bson.D); ok {
		app, _ := field(client, "application").(bson.D)
		o.c.appName, _ = field(app, "name").(string)
	}
	s, addr := o.s, o.s.Addr().String()
	primary := s.steppedDown == nil
	d := bson.D{{Key: "helloOk", Value: true}}
	if o.name == "hello" {
		d = append(d, bson.E{Key: "isWritablePrimary", Value: primary})
	} else {
		d = append(d, bson.E{Key: "ismaster", Value: primary})
	}
	d = append(d, bson.D{
		{Key: "hosts", Value: bson.A{addr}},
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
		{Key: "maxWireVersion", Value: int32(maxWireVersion)},
		{Key: "readOnly", Value: false},
		{Key: "ok", Value: 1.0},
	}
}

func buildInfo(o *op) (bson.D, error) {
	return bson.D{
		{Key: "version", Value: version},
		{Key: "versionArray", Value: bson.A{int32(7), int32(0), int32(0), int32(0)}},
		{Key: "gitVersion", Value: "devmongo"},
		{Key: "modules", Value: bson.A{}},
		{Key: "bits", Value: int32(64)},
		{Key: "debug", Value: false},
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)},
		{Key: "storageEngines", Value: bson.A{"devmongo"}},
		{Key: "ok", Value: 1.0},
	}, o.a.finish()
}

func connectionStatus(o *op) (bson.D, error) {
	o.a.accept("showPrivileges")
	info := bson.D{{Key: "authenticatedUsers", Value: bson.A{}}, {Key: "authenticatedUserRoles", Value: bson.A{}}}
	return bson.D{{Key: "authInfo", Value: info}, {Key: "ok", Value: 1.0}}, o.a.finish()
}
