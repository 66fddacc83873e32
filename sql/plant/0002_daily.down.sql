DROP TABLE plant.daily_summaries;
