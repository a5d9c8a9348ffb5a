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
		{Key: "hosts", Value: bson.A{addr}}, {Key: "setName", Value: setName}, {Key: "setVersion", Value: int32(1)},
		{Key: "secondary", Value: !primary}, {Key: "me", Value: addr},
	}...)
	if primary {
		d = append(d, bson.E{Key: "primary", Value: addr}, bson.E{Key: "electionId", Value: s.electionID})
	}
	d = append(d, bson.E{Key: "lastWrite", Value: s.lastWrite()})
	return append(d, s.limits(o.c)...), nil
}

func (s *Server) lastWrite() bson.D {
	optime := func(ts bson.Timestamp) bson.D { return bson.D{{Key: "ts", Value: ts}, {Key: "t", Value: s.term}} }
	date := func(ts bson.Timestamp) bson.DateTime { return bson.DateTime(int64(ts.T) * 1000) }
	applied, majority := timestamp(s.oplog.applied), timestamp(s.oplog.majority)
	return bson.D{
		{Key: "opTime", Value: optime(applied)}, {Key: "lastWriteDate", Value: date(applied)},
		{Key: "majorityOpTime", Value: optime(majority)}, {Key: "majorityWriteDate", Value: date(majority)},
	}
}

func (s *Server) limits(c *conn) bson.D {
	return bson.D{
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)}, {Key: "maxMessageSizeBytes", Value: int32(maxMessage)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)}, {Key: "localTime", Value: bson.NewDateTimeFromTime(s.cfg.Now())},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "connectionId", Value: c.id},
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(maxWireVersion)},
		{Key: "readOnly", Value: false}, {Key: "ok", Value: 1.0},
	}
}

func buildInfo(o *op) (bson.D, error) {
	return bson.D{
		{Key: "version", Value: version}, {Key: "versionArray", Value: bson.A{int32(7), int32(0), int32(0), int32(0)}},
		{Key: "gitVersion", Value: "devmongo"}, {Key: "modules", Value: bson.A{}}, {Key: "bits", Value: int32(64)}, {Key: "debug", Value: false},
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)}, {Key: "storageEngines", Value: bson.A{"devmongo"}}, {Key: "ok", Value: 1.0},
	}, o.a.finish()
}

// diagnosticCommand holds what shells and drivers ask for when they connect,
// answered as far as there is an answer.
func diagnosticCommand(name string) *command {
	switch name {
	case "connectionStatus":
		return &command{0, func(o *op) (bson.D, error) {
			o.a.accept("showPrivileges")
			info := bson.D{{Key: "authenticatedUsers", Value: bson.A{}}, {Key: "authenticatedUserRoles", Value: bson.A{}}}
			return bson.D{{Key: "authInfo", Value: info}, {Key: "ok", Value: 1.0}}, o.a.finish()
		}}
	case "getCmdLineOpts":
		return &command{adminOnly, func(o *op) (bson.D, error) {
			return bson.D{{Key: "argv", Value: bson.A{"devmongo"}}, {Key: "parsed", Value: bson.D{}}, {Key: "ok", Value: 1.0}}, o.a.finish()
		}}
	case "getLog":
		return &command{adminOnly, func(o *op) (bson.D, error) {
			return bson.D{{Key: "totalLinesWritten", Value: int32(0)}, {Key: "log", Value: bson.A{}}, {Key: "ok", Value: 1.0}}, o.a.finish()
		}}
	}
	return nil
}
