// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// entraRiskFormat is what Microsoft's identity protection has noticed of applications
// ("servicePrincipalRiskDetection resource type"). It is nobody's use and alters nothing:
// it is told beside the changes, as a suspicion of somebody else's.
func entraRiskFormat() Format {
	return Format{
		Name: "entra-risk", layout: byElement,
		is:     func(record string) bool { return hasMembers(record, "riskEventType", "servicePrincipalId") },
		reader: stateless(readEntraRisk),
	}
}

// An entraRisk is such a record. Without a licence for Workload ID Premium what was noticed
// is called generic, and how bad it is hidden.
type entraRisk struct {
	ID, RiskEventType, RiskState, RiskLevel, Source        flexText
	IPAddress, CorrelationID, ActivityDateTime             flexText
	ServicePrincipalID, ServicePrincipalDisplayName, AppID flexText
	TenantID                                               flexText // the driver that asked adds it

	KeyIDs []string
}

func readEntraRisk(record string, sink Sink) error {
	if err := shallow(record); err != nil {
		return err
	}
	var r entraRisk
	if json.Unmarshal([]byte(record), &r) != nil {
		return errors.New("expected a risk detection of a service principal as Microsoft Graph describes it, with keyIds as a list")
	}
	at, err := readTime(string(r.ActivityDateTime))
	if err != nil {
		return err
	}
	if r.ID == "" || r.ServicePrincipalID == "" {
		return errors.New("expected the id of the detection, and that of the service principal")
	}
	if !wantsChanges(sink) || settled(string(r.RiskState)) {
		return nil
	}
	e := entraEvent{
		source: "entra-risk", id: string(r.ID), tenant: string(r.TenantID), time: at, address: string(r.IPAddress),
		operation: string(r.RiskEventType), correlation: string(r.CorrelationID),
		detail: "Microsoft says: " + string(r.RiskEventType) + ", risk " + string(r.RiskLevel) + ", " + string(r.RiskState),
	}
	if r.RiskLevel == "hidden" {
		e.detail = "Microsoft has noticed something, and tells what to those who have a licence for Workload ID Premium"
	}
	c := e.to(e.change(tallystick.ChangeSuspected), "entra-app", string(r.ServicePrincipalID), string(r.ServicePrincipalDisplayName), string(r.AppID))
	for _, id := range r.KeyIDs {
		if !isNone(id) {
			c.Credential = append(c.Credential, tallystick.NormalName("entra-key:"+id))
		}
	}
	tell(sink, c)
	return nil
}

// settled says whether somebody has dealt with a risk already.
func settled(state string) bool {
	return strings.EqualFold(state, "dismissed") || strings.EqualFold(state, "remediated") || strings.EqualFold(state, "confirmedSafe")
}
