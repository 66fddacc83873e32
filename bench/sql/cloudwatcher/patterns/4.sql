SELECT oa.*, u.name, u.email
FROM order_approvals oa
JOIN users u ON oa.approver_id = u.id
WHERE oa.order_id = $1
ORDER BY oa.approval_level;
