DROP TABLE reporting.ai_insights;
