package changestream

// class is what a server's error code means for the stream.
type class string

const (
	// classPasses: a condition that ends by itself. The token is good.
	classPasses class = "passes"
	// classOutside: somebody has to mend it at the server: a privilege, a setting.
	// It has nothing to do with the token, which is kept; a start is refused.
	classOutside class = "outside"
	// classRequest: the server does not understand the request. The token may be
	// why, so with one it is a loss; a start, which has none, is refused.
	classRequest class = "request"
	// classLoss: the history is gone, or cannot be delivered.
	classLoss class = "loss"
)

// errorCode is what is known of one of the server's error codes.
type errorCode struct {
	name  string
	class class
	// advice says what to do, for the log.
	advice string
	// reason is that of the loss, for classLoss. Empty: reasonResumeRefused.
	reason Reason
}

// What there is to do about several codes.
const (
	adviceNothing   = "nothing to do, keytail tries again by itself"
	adviceElection  = "nothing to do unless it lasts: then check with rs.status() that the replica set has a primary"
	adviceNetwork   = "check the network between the members of the cluster, and that all of them run"
	adviceOverload  = "the server is overloaded or limits its clients: give it more resources or raise the limit"
	adviceSharding  = "nothing to do unless it lasts: then check the shards and the config servers"
	adviceClock     = "check the clocks of the members of the cluster, and that all of them share their keys (admin.system.keys)"
	adviceTimeout   = "nothing to do unless it lasts: then look for what makes the server slow"
	adviceLogin     = "check the user and the password in the connection string, authSource, and from where the user may connect"
	adviceGrant     = "grant the user find and changeStream on what --stream-scope watches (README.md, Privileges)"
	adviceStableAPI = "do not set a server API version with strict on the client"
	adviceServer    = "this is not a MongoDB server that keytail supports: use a replica set of MongoDB 4.4 or later"
	adviceReport    = "keytail's request is not understood: check the server's version, and report this"
	adviceUpgrade   = "the server is newer than keytail: upgrade keytail, or report this"
	adviceOplog     = "if it happens again make the oplog larger, or look for what keeps keytail from reading it"
	adviceServerLog = "look into the server's log for the cause"
	adviceData      = "check the collection for damaged documents (validate)"
	adviceReplSet   = "start the server as a member of a replica set: a change stream needs one"
	adviceDisk      = "free disk space on the server"
)

// errorCodes are the codes that an aggregate, a getMore or a find can fail with,
// sorted by what they mean. Source: src/mongo/base/error_codes.yml of the server
// (names and numbers), its change streams' source, and the drivers' lists of
// retryable and resumable errors. Left out are codes that a server keeps to
// itself, and those of other commands. DESIGN.md has the same table, for people.
var errorCodes = map[int]errorCode{
	1:        {name: "InternalError", class: classLoss, advice: adviceServerLog},
	2:        {name: "BadValue", class: classRequest, advice: adviceReport},
	6:        {name: "HostUnreachable", class: classPasses, advice: adviceNetwork},
	7:        {name: "HostNotFound", class: classPasses, advice: adviceNetwork},
	8:        {name: "UnknownError", class: classLoss, advice: adviceServerLog},
	9:        {name: "FailedToParse", class: classRequest, advice: adviceReport},
	11:       {name: "UserNotFound", class: classOutside, advice: adviceLogin},
	13:       {name: "Unauthorized", class: classOutside, advice: adviceGrant},
	14:       {name: "TypeMismatch", class: classRequest, advice: adviceReport},
	18:       {name: "AuthenticationFailed", class: classOutside, advice: adviceLogin},
	20:       {name: "IllegalOperation", class: classRequest, advice: adviceReport},
	22:       {name: "InvalidBSON", class: classLoss, advice: adviceData},
	24:       {name: "LockTimeout", class: classPasses, advice: adviceTimeout},
	26:       {name: "NamespaceNotFound", class: classPasses, advice: "create the collection of the keys, or check its name"},
	43:       {name: "CursorNotFound", class: classPasses, advice: adviceNothing},
	46:       {name: "LockBusy", class: classPasses, advice: adviceTimeout},
	50:       {name: "MaxTimeMSExpired", class: classPasses, advice: adviceTimeout},
	59:       {name: "CommandNotFound", class: classRequest, advice: adviceServer},
	63:       {name: "StaleShardVersion", class: classPasses, advice: adviceSharding},
	70:       {name: "ShardNotFound", class: classPasses, advice: adviceSharding},
	72:       {name: "InvalidOptions", class: classRequest, advice: adviceReport},
	73:       {name: "InvalidNamespace", class: classRequest, advice: "keys cannot be kept in a database of the server's own: move them"},
	76:       {name: "NoReplicationEnabled", class: classOutside, advice: adviceReplSet},
	89:       {name: "NetworkTimeout", class: classPasses, advice: adviceNetwork},
	90:       {name: "CallbackCanceled", class: classPasses, advice: adviceNothing},
	91:       {name: "ShutdownInProgress", class: classPasses, advice: adviceElection},
	93:       {name: "InvalidReplicaSetConfig", class: classPasses, advice: adviceElection},
	94:       {name: "NotYetInitialized", class: classPasses, advice: "initiate the replica set (rs.initiate)"},
	95:       {name: "NotSecondary", class: classPasses, advice: adviceElection},
	96:       {name: "OperationFailed", class: classPasses, advice: adviceServerLog},
	101:      {name: "OutdatedClient", class: classRequest, advice: adviceServer},
	107:      {name: "LockFailed", class: classPasses, advice: adviceTimeout},
	112:      {name: "WriteConflict", class: classPasses, advice: adviceNothing},
	115:      {name: "CommandNotSupported", class: classRequest, advice: adviceServer},
	117:      {name: "ConflictingOperationInProgress", class: classPasses, advice: adviceNothing},
	120:      {name: "OplogStartMissing", class: classLoss, advice: adviceOplog, reason: reasonHistoryLost},
	123:      {name: "NotAReplicaSet", class: classOutside, advice: adviceReplSet},
	133:      {name: "FailedToSatisfyReadPreference", class: classPasses, advice: adviceElection},
	134:      {name: "ReadConcernMajorityNotAvailableYet", class: classPasses, advice: adviceElection},
	136:      {name: "CappedPositionLost", class: classLoss, advice: adviceOplog, reason: reasonPositionLost},
	143:      {name: "CursorInUse", class: classPasses, advice: adviceNothing},
	145:      {name: "PooledConnectionsDropped", class: classPasses, advice: adviceNetwork},
	146:      {name: "ExceededMemoryLimit", class: classPasses, advice: adviceOverload},
	148:      {name: "ReadConcernMajorityNotEnabled", class: classOutside, advice: "start the server with majority read concern (enableMajorityReadConcern)"},
	149:      {name: "NoConfigPrimary", class: classPasses, advice: adviceSharding},
	150:      {name: "StaleEpoch", class: classPasses, advice: adviceSharding},
	164:      {name: "InitialSyncActive", class: classPasses, advice: adviceElection},
	166:      {name: "CommandNotSupportedOnView", class: classRequest, advice: "name the collection itself, a view has no change stream"},
	167:      {name: "OptionNotSupportedOnView", class: classRequest, advice: "name the collection itself, a view has no change stream"},
	168:      {name: "InvalidPipelineOperator", class: classRequest, advice: adviceServer},
	175:      {name: "QueryPlanKilled", class: classPasses, advice: adviceNothing},
	187:      {name: "LinearizableReadConcernError", class: classPasses, advice: adviceElection},
	188:      {name: "IncompatibleServerVersion", class: classRequest, advice: adviceServer},
	189:      {name: "PrimarySteppedDown", class: classPasses, advice: adviceElection},
	199:      {name: "ReplicaSetMonitorRemoved", class: classPasses, advice: adviceSharding},
	202:      {name: "NetworkInterfaceExceededTimeLimit", class: classPasses, advice: adviceNetwork},
	203:      {name: "ShardingStateNotInitialized", class: classPasses, advice: adviceSharding},
	204:      {name: "TimeProofMismatch", class: classPasses, advice: adviceClock},
	205:      {name: "ClusterTimeFailsRateLimiter", class: classPasses, advice: adviceClock},
	209:      {name: "StaleClusterTime", class: classPasses, advice: adviceClock},
	210:      {name: "CannotVerifyAndSignLogicalTime", class: classPasses, advice: adviceClock},
	211:      {name: "KeyNotFound", class: classPasses, advice: adviceClock},
	214:      {name: "AuthenticationRestrictionUnmet", class: classOutside, advice: adviceLogin},
	215:      {name: "DatabaseDropPending", class: classPasses, advice: adviceNothing},
	216:      {name: "ElectionInProgress", class: classPasses, advice: adviceElection},
	222:      {name: "CloseChangeStream", class: classLoss, advice: adviceNothing, reason: reasonCursorEnded},
	224:      {name: "QueryFeatureNotAllowed", class: classRequest, advice: adviceServer},
	234:      {name: "RetryChangeStream", class: classPasses, advice: adviceNothing},
	235:      {name: "InternalErrorNotSupported", class: classRequest, advice: adviceServer},
	237:      {name: "CursorKilled", class: classPasses, advice: "nothing to do unless it lasts: then look for what kills cursors or sessions"},
	238:      {name: "NotImplemented", class: classRequest, advice: adviceServer},
	239:      {name: "SnapshotTooOld", class: classPasses, advice: adviceTimeout},
	241:      {name: "ConversionFailure", class: classLoss, advice: adviceReport},
	246:      {name: "SnapshotUnavailable", class: classPasses, advice: adviceTimeout},
	249:      {name: "StaleDbVersion", class: classPasses, advice: adviceSharding},
	250:      {name: "StaleChunkHistory", class: classPasses, advice: adviceSharding},
	260:      {name: "InvalidResumeToken", class: classLoss, advice: adviceNothing, reason: reasonTokenRefused},
	261:      {name: "TooManyLogicalSessions", class: classPasses, advice: adviceOverload},
	262:      {name: "ExceededTimeLimit", class: classPasses, advice: adviceTimeout},
	264:      {name: "TooManyFilesOpen", class: classPasses, advice: "raise the server's limit of open files (ulimit -n)"},
	267:      {name: "PreparedTransactionInProgress", class: classPasses, advice: adviceNothing},
	272:      {name: "MigrationConflict", class: classPasses, advice: adviceSharding},
	279:      {name: "ClientDisconnect", class: classPasses, advice: adviceNetwork},
	280:      {name: "ChangeStreamFatalError", class: classLoss, advice: adviceNothing, reason: reasonTokenRemoved},
	286:      {name: "ChangeStreamHistoryLost", class: classLoss, advice: adviceOplog, reason: reasonHistoryLost},
	291:      {name: "NoQueryExecutionPlans", class: classOutside, advice: "create the index that is missing, or start the server without notablescan"},
	292:      {name: "QueryExceededMemoryLimitNoDiskUseAllowed", class: classPasses, advice: "create an index for the query's sort"},
	301:      {name: "DataCorruptionDetected", class: classLoss, advice: adviceData},
	303:      {name: "SplitHorizonChange", class: classPasses, advice: adviceElection},
	314:      {name: "ObjectIsBusy", class: classPasses, advice: adviceTimeout},
	317:      {name: "ConnectionPoolExpired", class: classPasses, advice: adviceNetwork},
	319:      {name: "MovePrimaryInProgress", class: classPasses, advice: adviceSharding},
	322:      {name: "APIVersionError", class: classOutside, advice: adviceStableAPI},
	323:      {name: "APIStrictError", class: classOutside, advice: adviceStableAPI},
	343:      {name: "ShardCannotRefreshDueToLocksHeld", class: classPasses, advice: adviceSharding},
	346:      {name: "ChangeStreamInvalidated", class: classLoss, advice: adviceNothing, reason: reasonInvalidate},
	347:      {name: "APIMismatchError", class: classOutside, advice: adviceStableAPI},
	348:      {name: "ChangeStreamTopologyChange", class: classPasses, advice: adviceSharding},
	351:      {name: "ChangeStreamStartAfterInvalidate", class: classLoss, advice: adviceNothing, reason: reasonTokenRefused},
	352:      {name: "UnsupportedOpQueryCommand", class: classRequest, advice: adviceServer},
	354:      {name: "LoadBalancerSupportMismatch", class: classOutside, advice: "set loadBalanced in the connection string as the server expects it"},
	355:      {name: "InterruptedDueToStorageChange", class: classPasses, advice: adviceNothing},
	357:      {name: "InvalidBSONType", class: classLoss, advice: adviceData},
	365:      {name: "TemporarilyUnavailable", class: classPasses, advice: adviceOverload},
	376:      {name: "ChangeStreamNotEnabled", class: classOutside, advice: "enable change streams for this database"},
	378:      {name: "NonConformantBSON", class: classLoss, advice: adviceData},
	391:      {name: "ReauthenticationRequired", class: classPasses, advice: adviceLogin},
	398:      {name: "StreamTerminated", class: classPasses, advice: adviceNetwork},
	401:      {name: "ResumeTenantChangeStream", class: classPasses, advice: adviceNothing},
	402:      {name: "ResourceExhausted", class: classPasses, advice: adviceOverload},
	404:      {name: "LDAPRoleAcquisitionError", class: classPasses, advice: "check that the server reaches its LDAP server"},
	407:      {name: "PooledConnectionAcquisitionExceededTimeLimit", class: classPasses, advice: adviceOverload},
	411:      {name: "QueryRejectedBySettings", class: classOutside, advice: "remove the query settings that reject keytail's queries (removeQuerySettings)"},
	412:      {name: "UpdatesStillPending", class: classPasses, advice: adviceNothing},
	433:      {name: "AdmissionQueueOverflow", class: classPasses, advice: adviceOverload},
	449:      {name: "RateLimitExceeded", class: classPasses, advice: adviceOverload},
	450:      {name: "PooledConnectionAcquisitionRejected", class: classPasses, advice: adviceOverload},
	453:      {name: "InterruptedDueToReshardingCriticalSection", class: classPasses, advice: adviceSharding},
	462:      {name: "IngressRequestRateLimitExceeded", class: classPasses, advice: adviceOverload},
	8000:     {name: "AtlasError", class: classOutside, advice: adviceLogin + "; grant what README.md lists under Privileges"},
	9001:     {name: "SocketException", class: classPasses, advice: adviceNetwork},
	10058:    {name: "LegacyNotPrimary", class: classPasses, advice: adviceElection},
	10107:    {name: "NotWritablePrimary", class: classPasses, advice: adviceElection},
	10334:    {name: "BSONObjectTooLarge", class: classLoss, advice: "keep the documents of the collection below 16 MB together with their change", reason: reasonEventTooLarge},
	11600:    {name: "InterruptedAtShutdown", class: classPasses, advice: adviceElection},
	11601:    {name: "Interrupted", class: classPasses, advice: "nothing to do unless it lasts: then look for what kills operations"},
	11602:    {name: "InterruptedDueToReplStateChange", class: classPasses, advice: adviceElection},
	13388:    {name: "StaleConfig", class: classPasses, advice: adviceSharding},
	13435:    {name: "NotPrimaryNoSecondaryOk", class: classPasses, advice: adviceElection},
	13436:    {name: "NotPrimaryOrSecondary", class: classPasses, advice: adviceElection},
	14031:    {name: "OutOfDiskSpace", class: classPasses, advice: adviceDisk},
	40324:    {name: "UnrecognizedPipelineStage", class: classRequest, advice: adviceServer},
	40413:    {name: "IDLDuplicateField", class: classRequest, advice: adviceReport},
	40414:    {name: "IDLFailedToParse", class: classRequest, advice: adviceReport},
	40415:    {name: "IDLUnknownField", class: classRequest, advice: adviceReport},
	40573:    {name: "ChangeStreamNeedsReplicaSet", class: classOutside, advice: adviceReplSet},
	46841:    {name: "ClientMarkedKilled", class: classPasses, advice: adviceNothing},
	56846:    {name: "ConfigServerUnreachable", class: classPasses, advice: adviceSharding},
	91331:    {name: "RetriableRemoteCommandFailure", class: classPasses, advice: adviceNothing},
	10045600: {name: "InterruptedDueToFCVChange", class: classPasses, advice: adviceNothing},
}
