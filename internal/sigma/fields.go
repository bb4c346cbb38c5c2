// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"slices"
	"strings"
)

// A field is a field of a rule, with the names under which events have it.
type field struct {
	key   string   // names it among all fields of all log sources
	names []string // in the order in which they are tried
}

// A fieldMap says what the fields of a log source are called in our records.
type fieldMap struct {
	source LogSource
	// nested are objects in which members are looked for too: exports of one
	// log put them at the top or in an envelope.
	nested []string
	// names has, by the name of a rule in lower case, other names. "@" marks a
	// member of a use or of a change.
	names map[string]string
	// own says that all names are members of a use or a change.
	own map[string]bool
	// kept are the members that the readers of the log give to a use, "" when no
	// use is read from it.
	kept string
}

// keeps says whether a use that was read from the log can have a member.
func (m *fieldMap) keeps(name string) bool {
	own, is := strings.CutPrefix(name, member)
	if m.kept == allOfChanges {
		return is && changeMembers[own]
	}
	return is && slices.Contains(strings.Fields(m.kept), own) || is && m.kept == allMembers && (useMembers[own] || strings.HasPrefix(own, "ids."))
}

// field returns the field of a name, and whether uses that are kept have it.
func (m *fieldMap) field(name string) (f *field, mapped bool) {
	name = strings.ToLower(name)
	f = &field{names: []string{name}}
	if m.own[name] || m.own != nil && strings.HasPrefix(name, "ids.") {
		f.names = []string{member + name, name}
	}
	for _, object := range m.nested {
		f.names = append(f.names, object+"."+name)
	}
	for _, other := range strings.Fields(m.names[name]) {
		f.names = append(f.names, other)
		if !strings.HasPrefix(other, member) {
			for _, object := range m.nested {
				f.names = append(f.names, object+"."+other)
			}
		}
	}
	for _, other := range f.names {
		mapped = mapped || m.keeps(other)
	}
	f.key = strings.Join(f.names, " ")
	return f, mapped
}

// fieldsOf returns the map of a log source.
func fieldsOf(source LogSource) (*fieldMap, bool) {
	for i := range fieldMaps {
		m := &fieldMaps[i]
		wanted := source
		if m.source.Service == "" { // all services of the product
			wanted.Service = ""
		}
		if m.source == wanted {
			return m, true
		}
	}
	return nil, false
}

// LogSources returns the log sources that rules can be about. One without a
// service stands for all of its product.
func LogSources() []LogSource {
	var all []LogSource
	for _, m := range fieldMaps {
		all = append(all, m.source)
	}
	return all
}

// allMembers are kept of use records, and allOfChanges of changes.
const allMembers, allOfChanges = "*", "*changes"

// useMembers and changeMembers are the members of our own records.
var useMembers = names("id source side level time until count credential account holder relying_party outcome status code address port agent operation resource detail")

var changeMembers = names("id source time kind failed status actor actor_kind address agent target target_name accounts credential existing grants operation correlation before after detail")

func names(list string) map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(list) {
		all[name] = true
	}
	return all
}

// azureActor is who did something, in the shapes of the audit log.
const azureActor = "initiatedby.user.userprincipalname initiatedby.app.displayname identity @actor"

// fieldMaps are the log sources that are read here. The names of rules are those
// of the logs, in one of their shapes: Graph's objects, envelopes of diagnostic
// settings (properties), and columns of Log Analytics.
var fieldMaps = []fieldMap{
	{source: LogSource{Product: "tallystick", Service: "uses"}, own: useMembers, kept: allMembers},
	{source: LogSource{Product: "tallystick", Service: "changes"}, own: changeMembers, kept: allOfChanges},
	{source: LogSource{Product: "azure", Service: "signinlogs"}, nested: []string{"properties"}, kept: "id time address holder resource agent status code reason bare ids.correlation ids.uti ids.session", names: map[string]string{
		"resulttype": "status.errorcode @code", "resultdescription": "status.failurereason @reason", "failurereason": "status.failurereason @reason",
		"status": "@status", "result": "@status", "errorcode": "status.errorcode @code", "status.errorcode": "resulttype @code",
		"ipaddress": "calleripaddress @address", "useragent": "agent @agent", "agent": "useragent @agent",
		"appid": "@account", "serviceprincipalname": "@holder", "appdisplayname": "serviceprincipalname @holder",
		"resourcedisplayname": "@resource", "resource": "resourcedisplayname @resource", "correlationid": "@ids.correlation",
		"uniquetokenidentifier": "@ids.uti", "sessionid": "@ids.session", "id": "@id", "username": "userprincipalname userdisplayname",
		"clientapp": "clientappused", "operationname": "@operation", "properties.message": "operationname resultdescription status.failurereason",
		"location": "location.countryorregion", "createddatetime": "time timegenerated @time",
		"serviceprincipalcredentialkeyid": "@bare", "networklocationdetails": "networklocationdetails.networktype",
		"activitydetails": "operationname @operation",
	}},
	{source: LogSource{Product: "azure", Service: "auditlogs"}, nested: []string{"properties"}, names: map[string]string{
		"properties.message": "activitydisplayname operationname @operation", "operationname": "activitydisplayname @operation",
		"activitydisplayname": "operationname @operation", "activitytype": "operationtype activitydisplayname operationname @operation",
		"status": "result resultsignature @status", "result": "resultsignature @status", "initiatedby": azureActor,
		"target": "targetresources.displayname targetresources.id @target_name @target", "targetresources": "targetresources.displayname targetresources.id @target",
		"correlationid": "@correlation", "ipaddress": "initiatedby.user.ipaddress calleripaddress @address", "id": "@id",
		"failure_status_reason": "resultreason resultdescription @detail", "resultreason": "resultdescription @detail",
		"targetresources.modifiedproperties": "targetresources.modifiedproperties.newvalue @after",
	}},
	{source: LogSource{Product: "azure", Service: "activitylogs"}, nested: []string{"properties"}, names: map[string]string{
		"operationname": "operationname.value operationnamevalue authorization.action @operation", "operationnamevalue": "operationname.value operationname @operation",
		"properties.message": "operationname.value operationname message", "resourceprovidervalue": "resourceprovidername.value resourceprovider",
		"categoryvalue": "category.value category", "status": "status.value activitystatus activitystatusvalue resulttype @status",
		"ipaddress": "calleripaddress httprequest.clientipaddress @address", "calleripaddress": "httprequest.clientipaddress @address",
		"caller": "identity.claims.name @actor",
	}},
	{source: LogSource{Product: "azure", Service: "riskdetection"}, nested: []string{"properties"}, names: map[string]string{
		"ipaddress": "@address", "id": "@id", "correlationid": "@ids.correlation",
	}},
	{source: LogSource{Product: "azure", Service: "pim"}, nested: []string{"properties"}, names: map[string]string{
		"riskeventtype": "alerttype securityalerttype",
	}},
	{source: LogSource{Product: "m365"}, nested: []string{"auditdata"}, kept: "id account address agent operation resource status ids.session", names: map[string]string{
		"eventsource": "workload", "eventname": "name operation @operation", "operation": "operations @operation",
		"status": "resultstatus @status", "resultstatus": "@status", "clientip": "clientipaddress @address", "clientipaddress": "clientip @address",
		"userid": "userids", "applicationid": "appid clientappid @account", "clientappid": "appid appaccesscontext.clientappid @account",
		"clientinfostring": "@agent", "mailboxownerupn": "@resource", "sessionid": "@ids.session", "id": "identity @id",
	}},
	{source: LogSource{Product: "aws", Service: "cloudtrail"}, kept: "id time address holder agent operation detail status bare ids.request", names: map[string]string{
		"eventname": "@operation", "sourceipaddress": "@address", "useragent": "@agent", "errorcode": "@detail", "eventid": "@id",
		"requestid": "@ids.request", "useridentity.accesskeyid": "@bare", "useridentity.arn": "@holder", "status": "@status",
		"eventtime": "@time",
	}},
	{source: LogSource{Product: "windows", Service: "security"}, kept: "operation address account resource ntstatus bare ids.serial", names: map[string]string{
		"eventid": "event_id @operation", "ipaddress": "@address", "ipport": "@port", "targetusername": "@account", "servicename": "@resource",
		"status": "@ntstatus", "certserialnumber": "@ids.serial", "certthumbprint": "@bare", "computer": "computername hostname computer_name host.name",
		"computername": "computer hostname", "workstation": "workstationname", "provider_name": "providername sourcename winlog_provider_name source_name",
		"channel": "logname winlog_channel", "eventlog": "channel logname",
	}},
	{source: LogSource{Product: "linux", Service: "sshd"}, names: sshNames, kept: sshKept},
	{source: LogSource{Product: "linux", Service: "auth"}, names: sshNames, kept: sshKept},
	{source: LogSource{Category: "webserver"}, names: webNames, kept: webKept},
	{source: LogSource{Product: "nginx"}, names: webNames, kept: webKept},
	{source: LogSource{Service: "nginx"}, names: webNames, kept: webKept},
	{source: LogSource{Product: "zeek"}, kept: "address port resource ids.session", names: map[string]string{
		"id.orig_h": "@address", "id.orig_p": "@port", "uid": "@ids.session", "client_subject": "@resource",
		"path": "_path uri", "c-uri": "uri", "c-useragent": "user_agent", "certificate.serial": "@ids.serial",
	}},
}

const (
	sshKept = "account address port operation"
	webKept = "address agent request_method request_uri request_path request_query"
)

var sshNames = map[string]string{
	"user": "@account", "username": "@account", "src_ip": "@address", "sourceip": "@address", "src_port": "@port",
	"auth_method": "@operation",
}

// webNames are the fields of the extended log format of the W3C, as rules have
// them, in the documented log formats of nginx and haproxy.
var webNames = map[string]string{
	"c-ip": "remote_address @address", "cs-user-agent": "ua @agent", "c-useragent": "ua @agent", "cs-uri": "request_uri @request_uri",
	"c-uri": "request_uri @request_uri", "cs-uri-query": "request_query @request_query", "c-uri-query": "request_query @request_query",
	"cs-uri-stem": "request_path @request_path", "cs-method": "request_method @request_method", "sc-status": "status", "cs-host": "sni host",
	"cs-referer": "referer",
}
