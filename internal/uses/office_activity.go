// SPDX-License-Identifier: Apache-2.0

package uses

// officeActivityFormat is table OfficeActivity of Log Analytics: the unified
// audit of Microsoft 365 with columns of its own.
func officeActivityFormat() Format {
	return Format{
		Name: "office-activity", layout: byElement,
		is:     func(record string) bool { return hasMembers(record, "OfficeWorkload", "Operation", "TimeGenerated") },
		reader: stateless(readOfficeActivity),
	}
}

func readOfficeActivity(record string, sink Sink) error {
	var a unifiedAudit
	var row string
	c := cursor{text: record}
	err := c.object(func(key string) error {
		switch key {
		case "OfficeWorkload":
			return c.into(&a.workload)
		case "TimeGenerated", "TimeGenerated [UTC]":
			return c.into(&a.time)
		case "SourceRecordId", "OfficeId":
			if a.u.ID == "" {
				return c.into(&a.u.ID)
			}
			return c.skip()
		case "Client_IPAddress":
			return c.into(&a.address)
		case "_ItemId":
			return c.into(&row)
		}
		return a.member(&c, key)
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if a.u.ID == "" {
		a.u.ID = row
	}
	return a.emit(sink)
}
