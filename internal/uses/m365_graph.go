// SPDX-License-Identifier: Apache-2.0

package uses

import "strings"

// graphAuditFormat is the unified audit as the audit search of Microsoft Graph gives
// it ("auditLogRecord resource type"): the record itself stands in auditData, and
// has the same id as in the Management Activity API.
func graphAuditFormat() Format {
	return Format{
		Name: "unified-audit-graph", layout: byElement,
		is:     func(record string) bool { return hasMembers(record, "auditLogRecordType", "auditData") },
		reader: stateless(readGraphAudit),
	}
}

func readGraphAudit(record string, sink Sink) error {
	var a unifiedAudit
	data := ""
	c := cursor{text: record}
	err := c.object(func(key string) (err error) {
		switch key {
		case "id":
			return c.into(&a.u.ID)
		case "createdDateTime":
			return c.into(&a.time)
		case "operation":
			return c.into(&a.operation)
		case "organizationId":
			return c.into(&a.organisation)
		case "service":
			return c.into(&a.workload)
		case "clientIp":
			return c.into(&a.address)
		case "auditData":
			data, err = c.raw()
			return err
		}
		return c.skip()
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	inner := cursor{text: data}
	if strings.HasPrefix(data, "{") {
		if err := inner.object(func(key string) error { return a.member(&inner, key) }); err != nil {
			return err
		}
		if a.workload == "AzureActiveDirectory" && a.u.ID != "" && wantsChanges(sink) {
			return readUnifiedDirectory(data, sink)
		}
	}
	return a.emit(sink)
}
