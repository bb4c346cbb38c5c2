// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
)

// call records mail that was read through Graph.
func (a *UnifiedAudit) call(c Call) {
	if c.Service != ServiceGraph || c.Method != http.MethodGet || c.Status != http.StatusOK || c.Mailbox == nil {
		return
	}
	folder := folderAccess{id: inboxID(c.Mailbox), path: `\Inbox`, items: c.Opened}
	a.mail(mailAccess{
		tenant: c.Tenant.ID, mailbox: c.Mailbox.PrincipalName, mailboxID: c.Mailbox.MailboxID, graph: true,
		app: c.Claims.AppID, principal: c.Claims.ObjectID, uti: c.Claims.UTI, issued: c.Claims.Issued,
		address: addressText(c.Address), agent: c.UserAgent, at: c.Time, folders: []folderAccess{folder},
	})
}
