// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// adminPath is where the PowerShell module of Exchange Online has its commands run for a tenant.
// The documented Admin API (/adminapi/v2.0) takes no parameters for this command.
const adminPath = "/adminapi/beta/"

// organizationConfig answers Get-OrganizationConfig, of which it has what decides about EWS.
// EwsAllowedAppIDs is told to who asks for it by a parameter.
func (e *EWS) organizationConfig(rw http.ResponseWriter, req *http.Request) {
	tenant, claims, problem := e.world.authenticate(req, Exchange)
	id, command, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, adminPath), "/")
	var body struct {
		CmdletInput struct {
			CmdletName string
			Parameters struct{ RetrieveEwsOperationAccessPolicy bool }
		}
	}
	status := 0
	switch {
	case problem != "":
		status = http.StatusUnauthorized
	case req.Method != http.MethodPost || command != "InvokeCommand":
		status = http.StatusNotFound
	case !strings.EqualFold(id, tenant.ID) || !claims.Has("Exchange.ManageAsApp"):
		status = http.StatusForbidden
	case json.NewDecoder(io.LimitReader(req.Body, maxEWSRequest)).Decode(&body) != nil || body.CmdletInput.CmdletName != "Get-OrganizationConfig":
		status = http.StatusBadRequest
	}
	if status != 0 {
		http.Error(rw, `{"error":{"code":"`+http.StatusText(status)+`","message":"The role assigned to application isn't supported in this scenario, or the command is not known."}}`, status)
		return
	}
	e.mu.Lock()
	config := e.config
	e.mu.Unlock()
	answer := map[string]any{"Name": tenant.Domain, "EwsEnabled": nil, "EwsApplicationAccessPolicy": nil, "EwsAllowList": []string{}}
	if config.Disabled {
		answer["EwsEnabled"] = len(config.AllowedApps) > 0
	}
	if body.CmdletInput.Parameters.RetrieveEwsOperationAccessPolicy {
		answer["EwsAllowedAppIDs"] = strings.Join(slices.Sorted(slices.Values(config.AllowedApps)), ",")
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{"value": []any{answer}}) // who has gone reads nothing
}
