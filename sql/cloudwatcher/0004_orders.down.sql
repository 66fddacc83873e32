DROP TABLE cloudwatcher.order_history, cloudwatcher.approval_delegations, cloudwatcher.order_approvals, cloudwatcher.order_items,
  cloudwatcher.orders;
